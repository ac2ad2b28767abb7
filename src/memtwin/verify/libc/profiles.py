# SPDX-License-Identifier: LGPL-2.1-or-later
"""Kinds of random allocator work: what is likely in a sequence that `memtwin verify libc` plays.

A profile says how many slots there are (at most that many blocks live at once), from which ranges sizes are drawn, what
is done with an empty and with a full slot, and how often something rare happens. Weights are relative to each other;
`rare` ones are per 100,000 operations. One operation is about one random choice; sequences.py makes the choices.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

KIB, MIB = 1024, 1024 * 1024


class Rare(IntEnum):
    """What happens seldom; the place of its weight."""

    TRIM = 0
    MALLOPT = 1
    MALLINFO = 2
    STATS = 3
    INFO = 4
    SBRK = 5
    MAP = 6  # the program maps or unmaps memory of its own
    LIMIT = 7  # RLIMIT_AS or RLIMIT_DATA set near to what is used, or lifted
    FORK = 8
    SWITCH = 9  # another thread goes on
    START = 10
    EXIT = 11
    REFUSED = 12  # a size that no allocator can give
    STOP = 13  # everything is compared here, not only at the end


class Mood(IntEnum):
    """How the sequence drifts for a while; drawn anew every few hundred operations."""

    STEADY = 0  # a random slot: fill it if it is empty, empty it if it is full
    GROW = 1  # mostly fill
    DRAIN = 2  # mostly empty
    SWEEP = 3  # slots in their order: blocks that lie together go together


@dataclass(frozen=True)
class Profile:
    """See the module's text. sizes: (weight, lowest, highest); `empty` and `full`: operation -> weight."""

    name: str
    slots: int
    sizes: tuple[tuple[int, int, int], ...]
    empty: dict[str, int] = field(default_factory=lambda: {"MALLOC": 100})
    full: dict[str, int] = field(default_factory=lambda: {"FREE": 100})
    rare: dict[Rare, int] = field(default_factory=dict)
    threads: int = 1
    longest_write: int = 4096
    longest: int = 400_000  # operations of one column
    environments: tuple[dict[str, str], ...] = ({},)


ALL_WAYS = {
    "MALLOC": 100,
    "CALLOC": 20,
    "REALLOC": 10,
    "REALLOCARRAY": 5,
    "MEMALIGN": 10,
    "POSIX_MEMALIGN": 5,
    "ALIGNED_ALLOC": 5,
    "VALLOC": 2,
    "PVALLOC": 2,
}
ALL_ENDS = {"FREE": 100, "REALLOC": 25, "REALLOCARRAY": 5, "USABLE_SIZE": 10, "WRITE": 20}
LOOKS = {Rare.MALLINFO: 20, Rare.STATS: 5, Rare.INFO: 5, Rare.STOP: 2}


def _tunables(*settings: str) -> tuple[dict[str, str], ...]:
    return tuple(
        {"GLIBC_TUNABLES": ":".join(f"glibc.malloc.{part}" for part in s.split())} if s else {} for s in settings
    )


PROFILES: dict[str, Profile] = {
    p.name: p
    for p in (
        Profile("tiny", 64, ((1, 0, 128),), ALL_WAYS, ALL_ENDS, LOOKS),
        Profile("small", 4096, ((10, 0, 200), (1, 0, 1100)), ALL_WAYS, ALL_ENDS, LOOKS),
        Profile("bins", 2000, ((1, 1, 1024),), {"MALLOC": 1}, {"FREE": 1}, {Rare.STOP: 2}),
        Profile("mixed", 2000, ((50, 0, 256), (30, 256, 4096), (10, 4096, 65536), (2, 65536, MIB)), ALL_WAYS, ALL_ENDS,
                LOOKS | {Rare.TRIM: 20, Rare.REFUSED: 20}),
        Profile("large", 60, ((10, 1, 4096), (20, 4096, 128 * KIB), (20, 128 * KIB, 3 * MIB), (1, 3 * MIB, 40 * MIB)),
                ALL_WAYS, ALL_ENDS, LOOKS | {Rare.TRIM: 50, Rare.MAP: 200, Rare.STOP: 20},
                longest=8000),
        Profile("aligned", 500, ((20, 0, 2000), (5, 2000, 200 * KIB)),
                {"MEMALIGN": 10, "POSIX_MEMALIGN": 10, "ALIGNED_ALLOC": 5, "VALLOC": 3, "PVALLOC": 3, "MALLOC": 10},
                ALL_ENDS, LOOKS),
        Profile("realloc", 300, ((20, 0, 300), (10, 300, 8 * KIB), (3, 8 * KIB, 400 * KIB)),
                {"MALLOC": 10, "REALLOC": 10, "CALLOC": 5},
                {"FREE": 20, "REALLOC": 100, "REALLOCARRAY": 20, "USABLE_SIZE": 5, "WRITE": 10}, LOOKS),
        Profile("trim", 800, ((10, 0, 2000), (10, 2000, 60 * KIB)), ALL_WAYS, ALL_ENDS,
                LOOKS | {Rare.TRIM: 2000, Rare.STOP: 20},
                longest=50000),
        Profile("knobs", 800, ((20, 0, 1100), (10, 1100, 64 * KIB), (3, 64 * KIB, 600 * KIB)), ALL_WAYS, ALL_ENDS,
                LOOKS | {Rare.MALLOPT: 300, Rare.TRIM: 50},
                longest=50000),
        Profile("threads", 3000, ((30, 0, 256), (20, 256, 4096), (5, 4096, 200 * KIB)), ALL_WAYS, ALL_ENDS,
                LOOKS | {Rare.SWITCH: 3000, Rare.START: 60, Rare.EXIT: 30, Rare.TRIM: 20}, threads=24,
                longest=200000),
        Profile("churn", 1500, ((30, 0, 1100), (5, 1100, 30 * KIB)), ALL_WAYS, ALL_ENDS,
                LOOKS | {Rare.SWITCH: 4000, Rare.START: 1000, Rare.EXIT: 900}, threads=60,
                longest=50000),
        Profile("heaps", 400, ((10, 0, 8 * KIB), (20, 8 * KIB, 120 * KIB), (10, 120 * KIB, 2 * MIB)),
                {"MALLOC": 50, "CALLOC": 2, "MEMALIGN": 5}, {"FREE": 50, "REALLOC": 20, "WRITE": 2},
                LOOKS | {Rare.SWITCH: 2000, Rare.START: 100, Rare.EXIT: 30, Rare.STOP: 5}, threads=6,
                environments=({"MALLOC_MMAP_THRESHOLD_": "33554432"},
                              {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_MAX_": "0"}),
                longest=20000),
        Profile("failure", 400, ((20, 0, 2000), (10, 2000, 100 * KIB), (5, 100 * KIB, 8 * MIB)), ALL_WAYS, ALL_ENDS,
                LOOKS | {Rare.SBRK: 100, Rare.REFUSED: 300, Rare.MALLOPT: 20, Rare.STOP: 20},
                longest=20000),
        Profile("limits", 400, ((20, 0, 2000), (10, 2000, 100 * KIB), (5, 100 * KIB, 8 * MIB)), ALL_WAYS, ALL_ENDS,
                LOOKS | {Rare.LIMIT: 300, Rare.SBRK: 100, Rare.REFUSED: 300, Rare.MALLOPT: 20, Rare.STOP: 20},
                longest=20000),
        Profile("foreign", 800, ((20, 0, 2000), (10, 2000, 60 * KIB), (2, 60 * KIB, 300 * KIB)), ALL_WAYS, ALL_ENDS,
                LOOKS | {Rare.SBRK: 300, Rare.MAP: 100, Rare.TRIM: 20}),
        Profile("fork", 500, ((20, 0, 1100), (10, 1100, 30 * KIB)), ALL_WAYS, ALL_ENDS, LOOKS | {Rare.FORK: 50},
                longest=50000),
        Profile("forked-threads", 500, ((20, 0, 1100), (10, 1100, 30 * KIB)), ALL_WAYS, ALL_ENDS,
                LOOKS | {Rare.FORK: 50, Rare.SWITCH: 2000, Rare.START: 100, Rare.EXIT: 30}, threads=10,
                longest=50000),
        Profile("tuned", 1500, ((30, 0, 300), (20, 300, 5000), (5, 5000, 300 * KIB)), ALL_WAYS, ALL_ENDS, LOOKS,
                environments=_tunables("tcache_count=0", "tcache_count=100", "tcache_max=4000", "tcache_max=128",
                                       "tcache_unsorted_limit=3", "mxfast=0", "mxfast=160", "top_pad=0",
                                       "top_pad=1000000",
                                       "mmap_threshold=4096", "mmap_max=0", "trim_threshold=4096", "perturb=85",
                                       "mmap_threshold=60000 trim_threshold=200000 top_pad=5000")),
        Profile("tuned-threads", 1500, ((30, 0, 300), (20, 300, 5000), (5, 5000, 300 * KIB)), ALL_WAYS, ALL_ENDS,
                LOOKS | {Rare.SWITCH: 3000, Rare.START: 200, Rare.EXIT: 100}, threads=24,
                environments=_tunables("arena_max=1", "arena_max=2", "arena_test=1", "arena_max=4 tcache_count=0",
                                       "arena_test=3 arena_max=5")),
        Profile("huge", 100, ((20, 0, 5000), (10, 5000, 200 * KIB), (5, 200 * KIB, 9 * MIB)), ALL_WAYS, ALL_ENDS,
                LOOKS | {Rare.TRIM: 50, Rare.SWITCH: 1000, Rare.START: 50, Rare.EXIT: 30}, threads=4,
                environments=_tunables("hugetlb=0", "hugetlb=1", "hugetlb=1 top_pad=3000000", "hugetlb=2",
                                       "hugetlb=2 mmap_threshold=100000", "hugetlb=2097152", "hugetlb=1073741824",
                                       "hugetlb=4096"), longest=8000),
    )
}  # fmt: skip
