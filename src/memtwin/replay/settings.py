# SPDX-License-Identifier: LGPL-2.1-or-later
"""Settings: assignments of glibc's tunables as a person writes them, `mmap_threshold=64KiB`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from memtwin.errors import UserError
from memtwin.libc.tunables import TUNABLES as LIMITS
from memtwin.libc.tunables import UINT64_MAX
from memtwin.units import parse_size

# name -> what it does, in the order of the help; the names are glibc's own, without "glibc.malloc."
TUNABLES = {
    "mmap_threshold": "blocks of at least this many bytes are mapped one by one; setting it freezes it",
    "trim_threshold": "a top of more bytes than this is given back to the kernel",
    "top_pad": "bytes by which the heap grows beyond what is needed",
    "mmap_max": "how many blocks may be mapped one by one at a time; 0: none",
    "mxfast": "largest request that goes to the fast bins",
    "tcache_count": "blocks of one size that a thread's cache keeps",
    "tcache_max": "largest request that a thread's cache keeps",
    "tcache_unsorted_limit": "unsorted chunks that one request may move into the cache; 0: no limit",
    "arena_max": "most arenas that there may be",
    "arena_test": "arenas that may exist before their limit is worked out",
    "hugetlb": "1: ask for transparent huge pages, 2: map huge pages",
    "perturb": "byte that freed memory is filled with, 0: none",
    "check": "0 to 3: what the debugging library does about corruption",
}
_MODERN = "glibc.malloc."

# The largest value that mallopt's functions take (malloc/malloc.c, do_set_*), where it is less than a tunable's own
# limit: half a thread's heap, 80 * SIZE_SZ / 4, MAX_TCACHE_COUNT.
_LARGEST = {"mmap_threshold": 32 << 20, "mxfast": 160, "tcache_count": 65535}


def parse_settings(texts: Iterable[str]) -> dict[str, int]:
    """Tunables by name, each text one `name=value` or several joined by commas or colons; the last of a name counts.

    UserError names a text that is none, a name that is no tunable, a value that is no size, or one that glibc ignores.
    """
    settings: dict[str, int] = {}
    for text in (part for whole in texts for part in whole.replace(":", ",").split(",") if part):
        name, equals, value = text.partition("=")
        name = name.strip().removeprefix(_MODERN)
        if not equals:
            raise UserError(f"{text!r} is no setting: write name=value, such as mmap_threshold=64KiB")
        if name not in TUNABLES:
            raise UserError(f"{name!r} is no setting of glibc's allocator; there are {', '.join(TUNABLES)}")
        settings[name] = _taken(name, parse_size(value.strip()))
    return settings


def _taken(name: str, value: int) -> int:
    """The value, if glibc takes it for the tunable."""
    least, largest = LIMITS[name].least, min(LIMITS[name].largest, _LARGEST.get(name, UINT64_MAX))
    if not least <= value <= largest:
        raise UserError(f"{name}={value}: glibc ignores such a value; it takes {least} to {largest}")
    return value


def environment_line(settings: Mapping[str, int]) -> str:
    """What one writes into an environment file to run a program under these settings."""
    return "GLIBC_TUNABLES=" + ":".join(f"{_MODERN}{name}={value}" for name, value in settings.items())
