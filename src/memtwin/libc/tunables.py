# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tunables: how GLIBC_TUNABLES and the MALLOC_ variables of an environment become the allocator's parameters.

Source: sysdeps/../elf/dl-tunables.list and malloc/arena.c (ptmalloc_init) of glibc 2.36. A tunable is set through the
same do_set_* function as mallopt's parameter of that name, with the same limits; what a limit refuses is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from memtwin.errors import UserError
from memtwin.units import parse_size

if TYPE_CHECKING:
    from memtwin.libc.malloc import Malloc

# tunable -> the old environment variable that means the same (dl-tunables.list), "" for none
TUNABLES: Mapping[str, str] = {
    "top_pad": "MALLOC_TOP_PAD_",
    "perturb": "MALLOC_PERTURB_",
    "mmap_threshold": "MALLOC_MMAP_THRESHOLD_",
    "trim_threshold": "MALLOC_TRIM_THRESHOLD_",
    "mmap_max": "MALLOC_MMAP_MAX_",
    "arena_max": "MALLOC_ARENA_MAX",
    "arena_test": "MALLOC_ARENA_TEST",
    "tcache_max": "",
    "tcache_count": "",
    "tcache_unsorted_limit": "",
    "mxfast": "",
    "hugetlb": "",
    "check": "MALLOC_CHECK_",
}


def tunables_of(environment: Mapping[str, str]) -> dict[str, int]:
    """The tunables that an environment sets, GLIBC_TUNABLES winning over the old variables, the last word winning.

    What glibc cannot read, it ignores, and so do we.
    """
    found: dict[str, int] = {}
    for name, variable in TUNABLES.items():
        if variable and variable in environment:
            _take(found, name, environment[variable])
    for word in environment.get("GLIBC_TUNABLES", "").split(":"):
        name, sign, value = word.partition("=")
        if sign and name.startswith("glibc.malloc."):
            _take(found, name.removeprefix("glibc.malloc."), value)
    return found


def _take(found: dict[str, int], name: str, text: str) -> None:
    """Read a number as _dl_strtoul does: decimal, octal after 0, hexadecimal after 0x, up to the first other letter."""
    text = text.strip()
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-").lower()
    base = 16 if digits.startswith("0x") else 8 if digits.startswith("0") else 10
    digits = digits[2:] if base == 16 else digits
    length = 0
    while length < len(digits) and digits[length] in "0123456789abcdef"[:base]:
        length += 1
    if name in TUNABLES and (length or base == 8):
        found[name] = sign * int(digits[:length] or "0", base)


def parse_setting(text: str) -> tuple[str, int]:
    """One assignment as a user writes it: "mmap_threshold=64KiB". UserError names what is wrong and the choices."""
    name, sign, value = text.partition("=")
    name = name.strip().removeprefix("glibc.malloc.")
    if not sign or name not in TUNABLES:
        raise UserError(f"{text!r} is no setting: write NAME=VALUE with a NAME of {', '.join(TUNABLES)}")
    return name, parse_size(value)


def apply_tunables(malloc: Malloc, tunables: Mapping[str, int]) -> None:
    """Set the parameters before the first call. UserError: a name that is no tunable."""
    for name, value in tunables.items():
        if name not in TUNABLES:
            raise UserError(f"there is no tunable {name!r}: known are {', '.join(TUNABLES)}")
        malloc.set_tunable(name, value)
