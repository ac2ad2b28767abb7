# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tunables: how GLIBC_TUNABLES and the MALLOC_ variables of an environment become the allocator's parameters.

Source: elf/dl-tunables.c, elf/dl-tunables.list, elf/dl-misc.c (_dl_strtoul) and malloc/arena.c (ptmalloc_init). A
tunable is set through the same do_set_* function as mallopt's parameter of that name, with the same limits; what a
limit refuses is ignored. GLIBC_TUNABLES wins over the old variables.

    up to 2.38   lenient: what is no NAME=VALUE is passed over, and a value is read as far as it is a number, "12kB"
                 as 12 and "many" as 0
    from 2.39    strict: a string with a name without value, or an "=" in a value, is ignored whole ("elf: Do not parse
                 ill-formatted strings", 680c597e9c); so is a value that is not a number to its end ("elf: Do not set
                 invalid tunables values", f94446c38f)
    from 2.40    of a tunable named twice only the last word counts, even if it is refused (bcae44ea85)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memtwin.errors import UserError
from memtwin.libc.hugepages import begin_huge

if TYPE_CHECKING:
    from memtwin.libc.malloc import Malloc

UINT64_MAX = 2**64 - 1
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


@dataclass(frozen=True)
class Tunable:
    """One of glibc.malloc.*: its least and largest value, the old variable that means the same, its first release.

    signed: an int32, else a size_t. least_since: the release since which `least` holds; before, all negative ones do.
    """

    least: int = 0
    largest: int = UINT64_MAX
    variable: str = ""
    first: int = 26
    signed: bool = False
    least_since: int = 0

    def takes(self, value: int, minor: int, word: int = 8) -> bool:
        """Whether glibc 2.`minor` with words of so many bytes takes the value, else it ignores it."""
        least = self.least if minor >= self.least_since else INT32_MIN
        return least <= value <= min(self.largest, (1 << 8 * word) - 1)


TUNABLES: Mapping[str, Tunable] = {
    "check": Tunable(0, 3, "MALLOC_CHECK_", signed=True),
    "top_pad": Tunable(variable="MALLOC_TOP_PAD_"),
    "perturb": Tunable(0, 255, "MALLOC_PERTURB_", signed=True),
    "mmap_threshold": Tunable(variable="MALLOC_MMAP_THRESHOLD_"),
    "trim_threshold": Tunable(variable="MALLOC_TRIM_THRESHOLD_"),
    "mmap_max": Tunable(0, INT32_MAX, "MALLOC_MMAP_MAX_", signed=True, least_since=34),
    "arena_max": Tunable(1, variable="MALLOC_ARENA_MAX"),
    "arena_test": Tunable(1, variable="MALLOC_ARENA_TEST"),
    "tcache_max": Tunable(),
    "tcache_count": Tunable(),
    "tcache_unsorted_limit": Tunable(),
    "mxfast": Tunable(first=31),
    "hugetlb": Tunable(first=35),
}
PREFIX = "glibc.malloc."


def tunables_of(environment: Mapping[str, str], release: str = "2.36") -> dict[str, int]:
    """The tunables that an environment sets in a release, by their names without the prefix.

    What glibc cannot read, or does not take, is left out.
    """
    minor = minor_of(release)
    found: dict[str, int] = {}
    for name, text in _assignments(environment.get("GLIBC_TUNABLES", ""), minor):
        _take(found, name, text, minor)
    for name, tunable in TUNABLES.items():
        if tunable.variable in environment and name not in found:
            _take(found, name, environment[tunable.variable], minor)
    return found


def minor_of(release: str) -> int:
    """The 36 of 2.36."""
    return int(release.split(".")[1])


def _assignments(text: str, minor: int) -> list[tuple[str, str]]:
    """The pairs of names (known ones) and values that a release sees in GLIBC_TUNABLES."""
    words = text.split(":")
    strict = minor >= 39
    pairs: list[tuple[str, str]] = []
    for word in words:
        name, sign, value = word.partition("=")
        if sign:
            if strict and "=" in value:
                return []
            pairs.append((name, value))
    if strict and text and "=" not in words[-1]:
        return []
    known = [(name.removeprefix(PREFIX), value) for name, value in pairs if name.startswith(PREFIX)]
    return list(dict(known).items()) if minor >= 40 else known


def _take(found: dict[str, int], name: str, text: str, minor: int) -> None:
    tunable = TUNABLES.get(name)
    if tunable is None or minor < tunable.first:
        return
    value, rest = read_number(text, minor >= 39)
    if rest and minor >= 39:
        return
    if tunable.signed:
        value = _as_signed(value, 32 if minor >= 39 else 64)
    if tunable.takes(value, minor):
        found[name] = value


def read_number(text: str, to_the_last: bool = True) -> tuple[int, str]:
    """A number as ld.so reads it (_dl_strtoul), modulo 2**64, and what is left of the text.

    Decimal, octal after 0, hexadecimal after 0x; blanks and a sign before it. What is no number counts as 0; what is
    too large as 2**64 - 1, whatever its sign. to_the_last: from 2.39 on; before, the largest of 64 bits were too
    large already.
    """
    rest = text.lstrip(" \t")
    negative = rest.startswith("-")
    rest = rest[1:] if rest[:1] in ("-", "+") and rest else rest
    if not rest[:1].isascii() or not rest[:1].isdigit():
        return 0, rest
    base = 10
    if rest.startswith("0"):
        base = 16 if rest[1:2] in ("x", "X") else 8
        rest = rest[2:] if base == 16 else rest
    result = 0
    while rest and rest[0] in "0123456789abcdefABCDEF" and int(rest[0], 16) < base:
        digit = int(rest[0], 16)
        beyond = result * base + digit > UINT64_MAX if to_the_last else result >= (UINT64_MAX - digit) // base
        if beyond:
            return UINT64_MAX, rest
        result = result * base + digit
        rest = rest[1:]
    return (-result if negative else result) & UINT64_MAX, rest


def _as_signed(value: int, bits: int) -> int:
    return (value + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)


def apply_tunables(malloc: Malloc, tunables: Mapping[str, int]) -> None:
    """Set the parameters before the first call, in glibc's order; a value that glibc does not take changes nothing.

    UserError: a name that is no tunable of the allocator's release.
    """
    minor = minor_of(malloc.release)
    known = [name for name, tunable in TUNABLES.items() if minor >= tunable.first]
    for name in tunables:
        if name not in known:
            raise UserError(f"glibc {malloc.release} has no tunable {name!r}: there are {', '.join(known)}")
    for name in known:
        if name in tunables and TUNABLES[name].takes(tunables[name], minor, malloc.word):
            malloc.set_tunable(name, _as_signed(tunables[name], 64))
    begin_huge(malloc, "mmap_threshold" in tunables)
