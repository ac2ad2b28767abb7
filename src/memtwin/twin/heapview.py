# SPDX-License-Identifier: LGPL-2.1-or-later
"""The heaps of a process as views: chunks in the order of their addresses, and the free lists that lead through them.

Everything is read where glibc keeps it, in the simulated memory, through the page table: looking costs no fault.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from memtwin.libc.peek import chunk_starts, ring
from memtwin.twin.observe import Sight
from memtwin.views import Chunk, FreeList, HeapView, list_state

if TYPE_CHECKING:
    from memtwin.twin.process import Process

MAX_CHUNKS = 20_000  # of a view
MAX_WALK = 1_000_000  # chunks that are passed on the way
MAX_LIST = 100_000  # chunks of one free list
MAX_ARENAS = 1_024
MAX_MAPPED = 1 << 28  # bytes that a block's header is sought below an address

_MMAPPED = 2


def heap(process: Process, labels: Mapping[int, str] | None = None) -> HeapView:
    """The main arena's heap. labels: names for pointers, as a script has them."""
    return MainHeap(process, Sight(process)).view(labels or {})


class MainHeap:
    """The main arena's heap at one moment, of which any part can be shown later."""

    def __init__(self, process: Process, sight: Sight) -> None:
        libc = process.libc
        self.lists = tuple([*_tcache_lists(process, sight), *_arena_lists(sight, libc.main_arena, libc)])
        self.start, self.end = process.space.brk_start, process.space.brk_end
        self.top = sight.word(libc.main_arena + libc.av_top)
        empty = libc.sbrk_base == 0 or not self.start <= self.top < self.end
        first = _first_chunk(libc, libc.sbrk_base)
        self.starts = [] if empty else chunk_starts(process.space, first, self.top, self.end, MAX_WALK, libc.word)
        self.word = libc.word
        self.last = sight.word(self.starts[-1] + self.word) & ~7 if self.starts else 0  # bytes of the last chunk

    def view(self, labels: Mapping[int, str], around: int = 0, most: int = MAX_CHUNKS) -> HeapView:
        """The heap, or where it has more than `most` chunks those with the address `around` in their middle."""
        middle = bisect_right(self.starts, around)
        first = max(0, min(middle - most // 2, len(self.starts) - most))
        starts = self.starts[first : first + most]
        sizes = _sizes(self.starts[first : first + most + 1], self.last)
        chunks = tuple(_chunks(starts, sizes[: len(starts)], self.top, self.lists, labels, self.word))
        return HeapView(self.start, self.end, chunks, self.lists, left_out=len(self.starts) - len(chunks))


def heaps(process: Process, labels: Mapping[int, str] | None = None) -> tuple[HeapView, ...]:
    """All heaps: the main arena's, then those of threads' arenas, each arena's newest first."""
    sight = Sight(process)
    found = [MainHeap(process, sight).view(labels or {})]
    for number, arena in enumerate(_arenas(process, sight), 1):
        found += _of_arena(process, sight, arena, number, labels or {})
    return tuple(found)


def _arenas(process: Process, sight: Sight) -> Iterator[int]:
    """The addresses of the arenas behind the main one, in the order of their ring."""
    arena = sight.word(process.libc.main_arena + process.libc.av_next)
    for _ in range(MAX_ARENAS):
        if arena in (0, process.libc.main_arena):
            return
        yield arena
        arena = sight.word(arena + process.libc.av_next)


def _of_arena(process: Process, sight: Sight, arena: int, number: int, labels: Mapping[int, str]) -> Iterator[HeapView]:
    """The heaps of a thread's arena, from the one that its top lies in down to the one that holds the arena."""
    libc = process.libc
    lists = tuple([*_tcache_lists(process, sight), *_arena_lists(sight, arena, libc)])
    top = sight.word(arena + libc.av_top)
    at = top & -libc.heap_max
    for _ in range(MAX_ARENAS):
        end = at + sight.word(at + libc.heap_size)
        first = at + libc.heap_info
        if at == arena & -libc.heap_max:
            first = _first_chunk(libc, arena + libc.av_size)
        starts = chunk_starts(process.space, first, top, end, MAX_CHUNKS, libc.word)
        last = sight.word(starts[-1] + libc.word) & ~7 if starts else 0
        chunks = tuple(_chunks(starts, _sizes(starts, last), top, lists, labels, libc.word))
        yield HeapView(at, end, chunks, lists, f"thread {number}")
        at = sight.word(at + libc.heap_prev)
        if at == 0:
            return


def _first_chunk(libc: Any, start: int) -> int:
    """Where the first chunk of memory from `start` on begins: its user data are aligned to 16."""
    return int(start + (-(start + libc.header) & 15))


def _sizes(starts: list[int], last: int) -> list[int]:
    """The sizes of neighbours that begin at `starts`, the last of which has `last` bytes."""
    return [after - at for at, after in pairwise(starts)] + [last] * bool(starts)


def _chunks(
    starts: list[int],
    sizes: list[int],
    top: int,
    lists: tuple[FreeList, ...],
    labels: Mapping[int, str],
    word: int,
) -> Iterator[Chunk]:
    header = 2 * word
    shown = set(starts)
    listed = {address: one.name for one in lists for address in shown.intersection(one.chunks)}
    for at, size in zip(starts, sizes, strict=True):
        name = listed.get(at, "")
        state = "top" if at == top else "fence" if size == header else list_state(name) if name else "live"
        yield Chunk(at, size, state, name, "top" if at == top else labels.get(at + header, ""), word)


def mapped_chunk(process: Process, start: int, end: int, address: int) -> Chunk | None:
    """The block with a mapping of its own that holds `address`, sought downwards from it in the region [start, end)."""
    sight, libc = Sight(process), process.libc
    lead = _first_chunk(libc, 0)  # of the mapping, before the chunk
    rest = lead + (libc.header if libc.mapped_like_heap else 0)
    for place in range(address & -sight.page, max(start, address - MAX_MAPPED) - 1, -sight.page):
        at = place + lead
        head = sight.word(at + libc.word)
        size = head & ~7
        whole = (size + rest) % sight.page == 0
        if head & 7 == _MMAPPED and sight.word(at) == lead and whole and address < at + size <= end:
            return Chunk(at, size, "mmapped", word=libc.word)
    return None


# Free lists.


def _tcache_lists(process: Process, sight: Sight) -> Iterator[FreeList]:
    """Those of all threads, the main one's first."""
    libc: Any = process.libc
    for number, tcache in enumerate(tcaches(process)):
        for index in range(libc.tcache_all_bins if tcache else 0):
            first = sight.word(tcache + libc.tcache_entries + libc.word * index)
            if first:
                name = f"tcache {libc.minsize + 16 * index:#x}" if index < 64 else f"tcache up to {1 << index - 53:#x}"
                name += f" of thread {number}" if number else ""
                yield FreeList(name, tuple(_singly(sight, first, 0, libc)))


def tcaches(process: Process) -> list[int]:
    """Where the tcache of each thread lies, 0 for a thread without one; the main thread's first."""
    libc, current = process.libc, process.libc.tid
    if current == 0:
        return [libc.tcache]  # nothing was called yet
    found = []
    for tid in (process.main_thread, *process.threads):
        libc.switch_thread(tid)
        found.append(libc.tcache)
    libc.switch_thread(current)
    return found


def _arena_lists(sight: Sight, arena: int, libc: Any) -> Iterator[FreeList]:
    header = libc.header
    for index in range(0 if libc.no_fastbins else libc.nfastbins):
        first = sight.word(arena + libc.av_fastbins + libc.word * index)
        if first:
            size = index + 2 << libc.fast_shift
            yield FreeList(f"fastbin {size:#x}", tuple(_singly(sight, first + header, header, libc)))
    for index in range(1, 127):
        chunks = ring(sight.process.space, arena + libc.av_bins + header * (index - 2), MAX_LIST, libc.word)
        if chunks:
            yield FreeList(_bin_name(index, libc), tuple(chunks))


def _singly(sight: Sight, pointer: int, header: int, libc: Any) -> Iterator[int]:
    """Chunk addresses along a mangled list from a user pointer on; the links themselves are to user pointers (header 0)
    or to chunks (header: its bytes). Ends where it is broken."""
    for _ in range(MAX_LIST):
        if pointer == 0 or pointer & 15:
            return
        yield pointer - libc.header
        pointer = (pointer >> 12 & libc.link_mask) ^ sight.word(pointer)
        pointer += header if pointer else 0


def _bin_name(index: int, libc: Any) -> str:
    if index == 1:
        return "unsorted"
    return f"small {16 * (index - libc.small_correction):#x}" if index < 64 else f"large bin {index}"
