# SPDX-License-Identifier: LGPL-2.1-or-later
"""The one assertion of malloc.c that damage from outside can fail: sysmalloc's, that the top is whole.

It is compiled into the libraries of the distributions. Its words are the C library's; its line is that of glibc's own
source (of 2.43: Debian's 2.43-7), and the form is the release's.
"""

from __future__ import annotations

TOP = (
    "(old_top == initial_top (av) && old_size == 0) || ((unsigned long) (old_size) >= MINSIZE && prev_inuse (old_top)"
    " && ((unsigned long) old_end & (pagesize - 1)) == 0)"
)
LINES = {
    31: 2379, 32: 2394, 33: 2539, 34: 2516, 35: 2617, 36: 2611, 37: 2593, 38: 2589, 39: 2599, 40: 2599, 41: 2601,
    42: 2607, 43: 2371,
}  # fmt: skip


def top_assertion(release: str) -> str:
    """What glibc writes when the top is not whole; up to 2.35 the program's name and ": " stand before it.

    2.36 leaves the line out ("malloc: Simplify implementation of __malloc_assert", ac8047cdf3); 2.37 has the
    library's own assert ("assert: Do not use stderr in libc-internal assert", 9001cb1102).
    """
    minor = int(release.split(".")[1])
    if minor < 36:
        return f"malloc.c:{LINES[minor]}: sysmalloc: Assertion `{TOP}' failed."
    if minor == 36:
        return f"Fatal glibc error: malloc assertion failure in sysmalloc: {TOP}"
    return f"Fatal glibc error: malloc.c:{LINES[minor]} (sysmalloc): assertion failed: {TOP}"
