# SPDX-License-Identifier: LGPL-2.1-or-later
"""The text of /proc/PID/maps as the comparison and the generator need it."""

from __future__ import annotations

import re
from typing import NamedTuple

_ANONYMOUS_SHARED = re.compile(rb" 00:01 (\d+) +/dev/zero \(deleted\)")
HUGE_NAME = b"/anon_hugepage (deleted)"
_ANONYMOUS_HUGE = re.compile(rb" [0-9a-f]+:[0-9a-f]+ (\d+) +/anon_hugepage \(deleted\)")
KERNEL_OWN = (b"[vvar]", b"[vvar_vclock]", b"[vdso]", b"[vsyscall]")


class Span(NamedTuple):
    """One line of maps: [start, end), its four letters, and what it is called."""

    start: int
    end: int
    permissions: bytes
    name: bytes


def spans(maps: bytes) -> list[Span]:
    """The VMAs of a maps text, [vsyscall] left out."""
    found = []
    for line in maps.splitlines():
        words = line.split(None, 5)
        begin, _, end = words[0].partition(b"-")
        name = words[5] if len(words) > 5 else b""
        if name != b"[vsyscall]":
            found.append(Span(int(begin, 16), int(end, 16), words[1], name))
    return found


class Renamer:
    """Makes maps texts of two runs comparable.

    The inode of an anonymous shared mapping, or of one of reserved huge pages, is a number the kernel takes from a
    counter of the whole machine: it is renamed in order of appearance. [vsyscall] is a fixed line that belongs to no
    VMA: it is dropped.
    """

    def __init__(self) -> None:
        self._names: dict[bytes, int] = {}

    def __call__(self, maps: bytes) -> bytes:
        if maps.endswith(b"[vsyscall]\n"):
            maps = maps[: maps.rindex(b"\n", 0, -1) + 1]
        if b"/dev/zero (deleted)" in maps:
            maps = _ANONYMOUS_SHARED.sub(self._rename, maps)
        if HUGE_NAME in maps:
            maps = _ANONYMOUS_HUGE.sub(self._rename_huge, maps)
        return maps

    def _rename(self, match: re.Match[bytes]) -> bytes:
        return b" 00:01 #%d /dev/zero (deleted)" % self._number(match[1])

    def _rename_huge(self, match: re.Match[bytes]) -> bytes:
        return b" #%d %s" % (self._number(b"huge " + match[1]), HUGE_NAME)

    def _number(self, inode: bytes) -> int:
        return self._names.setdefault(inode, len(self._names) + 1)
