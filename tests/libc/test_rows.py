# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every row of the table of differences changes something: the same calls with the row and without it.

Each row has its calls, which are made in the twin twice: on the first release that has the row, and on the same release
but for this one row. Something must be different: a result, errno, the mappings, a page in RAM, a word of the memory.
That the row is right, and not only different, is what the real libraries are for (`memtwin verify libc`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from tests.libc.sides import play, same
from tests.libc.test_knobs import THREADS

from memtwin.host.libcs import available
from memtwin.kernel.addrspace import AddressSpace
from memtwin.libc import malloc as malloc_module
from memtwin.libc import parameters as parameters_module
from memtwin.libc.malloc import Malloc
from memtwin.libc.mcheck import McheckMalloc
from memtwin.libc.parameters import mp_bytes
from memtwin.libc.release import ROWS, Release, Row

Calls = Callable[[Malloc], Any]
NO_CACHE = {"tcache_count": 0}
DEBUGGED = (  # in its library
    "debug_names_mappings", "debug_size_of_none", "realloc_check_silent", "mcheck_by_hooks", "mcheck_size_unknown",
)  # fmt: skip


@dataclass(frozen=True)
class Toggled(Release):
    """A release that has not one of its rows."""

    row: str = ""

    def has(self, row: str) -> bool:
        return super().has(row) != (row == self.row)


def observed(row: str, release: Release, tunables: dict[str, int], calls: Calls, monkeypatch: Any) -> tuple[Any, ...]:
    """All that the calls have left."""
    for module in (malloc_module, parameters_module):
        monkeypatch.setattr(module, "find_release", lambda name, model: release)
    space = AddressSpace(window_bits=40)
    if row in DEBUGGED:
        malloc: Malloc = McheckMalloc(space, release.name, tunables, preloaded=True)
    else:
        malloc = Malloc(space, release.name, tunables)
    told = calls(malloc)
    vmas = [(vma.start, vma.end, vma.flags) for vma in space.vmas()]
    memory = {}
    for start, end, flags in vmas:
        for page in range(start, end if flags & 3 == 3 else start, 4096):
            if space.resident_pages(page, page + 4096):
                memory[page] = space.read(page, 4096)
    return told, malloc.errno, malloc.abort, space.stop_signal, vmas, memory, mp_bytes(malloc)


def blocks(m: Malloc, *sizes: int) -> list[int]:
    return [m.malloc(size) for size in sizes]


def freed(m: Malloc, *sizes: int) -> list[int]:
    """Blocks that were allocated and freed, one by one, none beside another."""
    found = [m.malloc(size) for size in sizes for _ in (m.malloc(16),)]
    m.malloc(16)
    for block in found:
        m.free(block)
    return found


def word(m: Malloc, address: int, value: int) -> None:
    m.space.write(address, value.to_bytes(8, "little"))


def in_a_thread(m: Malloc, *sizes: int) -> list[int]:
    m.switch_thread(1)
    m.malloc(16)
    m.thread_start(2)
    m.switch_thread(2)
    return blocks(m, *sizes)


def calloc_of_used_memory(m: Malloc) -> int:
    """The first call is a calloc, of memory that the program has had from sbrk and written to."""
    start = m.program_sbrk(4096)
    m.space.write(start, b"U" * 4096)
    m.program_sbrk(-4080)
    return m.calloc(10, 10)


def refused_unmap(m: Malloc) -> int:
    """Free the middle one of three blocks in one mapping, which the map count limit forbids to cut in two."""
    _, _, middle, _ = blocks(m, *[300_000] * 4)  # the first one's mapping stands alone
    m.space.max_map_count = 1
    m.errno = 7
    m.free(middle)
    return m.errno


def longer_list_than_counted(m: Malloc) -> None:
    """A cached bin of seven that leads on to an eighth, and a block that looks cached."""
    cached = blocks(m, *[24] * 9)
    for block in cached[:7]:
        m.free(block)
    word(m, cached[0], cached[0] >> 12 ^ cached[7])
    word(m, cached[7], cached[7] >> 12)
    word(m, cached[8] + 8, m.tcache_key)
    m.free(cached[8])


def looks_cached(m: Malloc) -> None:
    """A cached block whose size word says that it belongs into another bin."""
    (p,) = freed(m, 24)
    word(m, p - 8, 0x31)
    m.free(p)


def another_size_in_a_fast_bin(m: Malloc) -> int:
    """What moves from the fast bin to the thread's cache says that it is larger."""
    found = blocks(m, *[24] * 9)
    for block in found:
        m.free(block)
    word(m, found[7] - 8, 0x31)
    return [m.malloc(24) for _ in range(8)][-1]


def broken_ring(m: Malloc) -> int:
    """A smaller chunk is added to a large bin whose smallest one does not know the largest."""
    large, small = freed(m, 2080, 2064)
    m.malloc(20_000)
    again = m.malloc(2064)
    word(m, large + 16, large - 8)
    m.free(again)
    return m.malloc(20_000) or small


def unaligned_heap(m: Malloc) -> int:
    """Somebody has moved the break by an odd number of bytes, and then the heap grows by a huge page."""
    m.mallopt(-4, 0)
    m.program_sbrk(100)
    return m.malloc(3 << 20)


def realloc_below_damage(m: Malloc) -> int:
    """The size word behind a block is damaged; what stays as it is does not look there."""
    p, q = blocks(m, 100, 100)
    word(m, q - 8, 1)
    return m.realloc(p, 100)


def freed_aligned(m: Malloc) -> None:
    """An aligned block in a bin."""
    p = m.memalign(256, 2000)
    m.malloc(16)
    m.free(p)


MIB = 1 << 20
HUGE = {"hugetlb": 1}
# row: tunables, calls; what is not among them is in OTHERWISE
SHOWN: dict[str, tuple[dict[str, int], Calls]] = {
    "hooks": ({}, calloc_of_used_memory),
    "safe_linking": ({}, lambda m: freed(m, 24, 24)),
    "free_keeps_errno": ({}, refused_unmap),
    "tcache_walk_ends": ({}, longer_list_than_counted),
    "random_tcache_key": ({}, lambda m: freed(m, 24)),
    "any_mmap_threshold": ({}, lambda m: m.mallopt(-3, 64 * MIB)),
    "hugetlb": ({}, lambda m: m.malloc(24)),
    "heap_pagesize": ({}, lambda m: in_a_thread(m, 24)),
    "heaps_noreserve": ({}, lambda m: in_a_thread(m, 24)),
    "mmap_threshold_of_huge": ({"hugetlb": 2}, lambda m: blocks(m, 200_000)),
    "realloc_keeps_what_fits": ({}, lambda m: m.malloc_usable_size(m.realloc(m.malloc(1000), 500))),
    "realloc_keeps_rounding": ({}, realloc_below_damage),
    "memalign_from_tcache": ({}, lambda m: [m.free(m.memalign(64, 100)), m.memalign(64, 100)]),
    "memalign_scans_bins": ({}, lambda m: [freed_aligned(m), m.malloc(5000), m.memalign(256, 2000)]),
    "strict_aligned_alloc": ({}, lambda m: m.aligned_alloc(24, 100)),
    "memalign_merges": ({}, lambda m: m.memalign(256, 100)),
    "calloc_from_tcache": ({}, lambda m: [freed(m, 24), m.calloc(1, 24)]),
    "frees_to_smallbin": (NO_CACHE, lambda m: freed(m, 200)),
    "starts_at_load": ({}, lambda m: None),
    "tcache_counts_down": ({}, lambda m: m.malloc(24)),
    "tcache_large_bins": ({"tcache_max": 4000}, lambda m: freed(m, 2000)),
    "remainders_bypass_tcache": ({}, lambda m: [m.realloc(p, 100) for p in blocks(m, 500, 500)]),
    "double_free_retries": ({}, looks_cached),
    "checks_nextsize": (NO_CACHE, broken_ring),
    "checks_fastbin_size": ({}, another_size_in_a_fast_bin),
    "no_fastbins": (NO_CACHE, lambda m: freed(m, 24)),
    "tcache_fills_16": ({}, lambda m: freed(m, *[24] * 10)),
    "tcache_small_size_fixed": ({}, lambda m: freed(m, 1032)),
    "mapped_like_heap": ({}, lambda m: m.malloc_usable_size(m.malloc(300_000))),
    "tcache_dummy": ({}, lambda m: blocks(m, 24)),
    "exact_large_tcache": ({"tcache_max": 4000}, lambda m: [freed(m, 100), freed(m, 1600), m.malloc(1500)]),
    "memalign_in_mapping": ({}, lambda m: m.memalign(32, 300_000)),
    "checks_alignment": ({}, lambda m: m.memalign(1 << 63, (1 << 63) - 40)),
    "thp_heaps": (HUGE, lambda m: in_a_thread(m, 24)),
    "advises_once": (HUGE, lambda m: m.realloc(m.malloc(3 * MIB), 8 * MIB) and m.space.call_counts["madvise"]),
    "advises_upwards": (HUGE, unaligned_heap),
    "brk_asked": (HUGE, lambda m: [m.malloc(24), m.program_sbrk(0)]),
    "thp_always": ({"hugetlb": 0}, lambda m: m.malloc(24)),
    "late_size_check": ({}, lambda m: [m.thread_start(2), m.switch_thread(2), m.malloc(1 << 63)]),
}


def blocked(m: Malloc, *sizes: int) -> list[int]:
    """Blocks of the heap, where the break moves only once."""
    m.mallopt(-4, 0)
    m.malloc(100)
    m.morecore_fails = True
    return blocks(m, *sizes)


def thread_ends(m: Malloc) -> None:
    """A thread leaves a block in its cache, whose size word is damaged."""
    block, _ = in_a_thread(m, 24, 24)
    m.free(block)
    word(m, block - 8, 0x15)
    m.thread_exit(2)


def realloc_in_huge_pages(m: Malloc) -> int:
    """A block in a mapping that is marked as made of huge pages, and has their size and alignment."""
    p = m.malloc(4 * MIB - 32)
    word(m, p - 16, 1)
    return m.realloc(p, 5 * MIB)


SHOWN |= {
    "transposed_fallback": ({}, lambda m: blocked(m, 2_000_000)),
    "plain_fallback": ({}, lambda m: blocked(m, 2_002_904)),  # with the top_pad whole pages
    "fixed_heap_max": ({"hugetlb": 2}, lambda m: in_a_thread(m, 24)),
    "shutdown_to_arena": ({}, thread_ends),
    "marks_huge_mappings": ({"hugetlb": 2}, realloc_in_huge_pages),
}


def failed_realloc(m: Any) -> int:
    """errno after a request that no allocator serves."""
    m.realloc(m.malloc(10), 1 << 63)
    return int(m.errno)


SHOWN |= {
    "debug_names_mappings": ({"check": 3}, lambda m: m.malloc(300_000)),
    "debug_size_of_none": ({"check": 3}, lambda m: [m.malloc(10), m.malloc_usable_size(0)]),
    "realloc_check_silent": ({"check": 3}, failed_realloc),
    "mcheck_by_hooks": ({}, lambda m: [m.mcheck(), m.memalign(16, 100)]),
    "mcheck_size_unknown": ({}, lambda m: [m.mcheck(), m.malloc_usable_size(m.malloc(20))]),
}
OTHERWISE = ("arena_limit_by_affinity", "tunables_on_heap")


@pytest.mark.parametrize("row", [row for row in ROWS if row.name not in OTHERWISE], ids=lambda row: row.name)
def test_without_the_row_something_is_different(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    tunables, calls = SHOWN[row.name]
    as_it_is = observed(row.name, Release(row.first), tunables, calls, monkeypatch)
    assert as_it_is == observed(row.name, Release(row.first), tunables, calls, monkeypatch)
    assert as_it_is != observed(row.name, Toggled(row.first, row=row.name), tunables, calls, monkeypatch)


@pytest.mark.parametrize("name", available())
def test_the_limit_of_arenas_on_one_processor(name: str) -> None:
    """arena_limit_by_affinity: more threads than arenas, all on the first processor that this process may use."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        host, twin, malloc = play(name, THREADS)
    finally:
        os.sched_setaffinity(0, allowed)
    same(host, twin)
    assert malloc.cpus == os.cpu_count()


@pytest.mark.parametrize("name", available())
def test_the_heap_behind_the_copy_of_the_tunables(name: str) -> None:
    """tunables_on_heap: a long GLIBC_TUNABLES moves the heap up to 2.34, and does not later."""
    environment = {"GLIBC_TUNABLES": ":".join(["glibc.malloc.check=0"] * 40)}
    host, twin, malloc = play(name, "p0 = malloc(24)\np1 = sbrk(0)\n", environment)
    same(host, twin)
    moved = malloc.sbrk_base > malloc.space.brk_start
    assert moved is (malloc.release == "2.31")


def test_every_row_is_shown() -> None:
    assert {row.name for row in ROWS} == {*SHOWN, *OTHERWISE}
