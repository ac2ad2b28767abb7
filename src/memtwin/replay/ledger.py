# SPDX-License-Identifier: LGPL-2.1-or-later
"""take_ledger: every resident byte of a twin's process on one line.

The allocator's memory is walked chunk by chunk, in order of address: the main arena's stretches of the heap, the
heaps of thread arenas, blocks mapped one by one. The rest of the process comes from what was measured.
"""

from __future__ import annotations

from typing import NamedTuple

from memtwin.replay.marks import kept_chunks, word
from memtwin.replay.result import FREE_LINES, LINES, MALLOC_LINES, Ledger, Pin
from memtwin.replay.surroundings import Moment
from memtwin.replay.twin import Twin
from memtwin.replay.walk import HeapWalk

HEAP_PREV, HEAP_SIZE = 8, 16
IS_MMAPPED, SIZE_BITS, MINSIZE = 2, 7, 32
_MOST_ARENAS = 1 << 16

# HeapWalk's kinds in their order; page_rounding takes what belongs to no chunk as well
_KINDS = ("live", "overhead", "tcache", "fast_bins", "free", "top", "mapped", "page_rounding")
_ROUNDING = _KINDS.index("page_rounding")
_OVERHEAD = _KINDS.index("overhead")


class Heap(NamedTuple):
    """A heap of a thread's arena: `end` is where its usable part ends, `first` its first chunk."""

    start: int
    first: int
    end: int
    top: int


def take_ledger(twin: Twin, moment: Moment, event: int) -> Ledger:
    """The ledger of the twin as it is now, after `event`; `moment` is what else is resident then."""
    return _Taking(twin).ledger(moment, event)


def arena_ring(twin: Twin) -> list[int]:
    """Addresses of all arenas, the main one first; of an allocator that nobody has called, none."""
    space, main = twin.space, twin.malloc.main_arena
    found = [main]
    arena = word(space, main + twin.malloc.av_next)
    if not arena:
        return []
    while arena != main and arena and len(found) < _MOST_ARENAS:
        found.append(arena)
        arena = word(space, arena + twin.malloc.av_next)
    return found


def heaps_of(twin: Twin, arena: int) -> list[Heap]:
    """The heaps of a thread's arena."""
    space, span = twin.space, twin.malloc.heap_max
    top = word(space, arena + twin.malloc.av_top)
    found: list[Heap] = []
    heap = top & -span
    while heap and len(found) < _MOST_ARENAS:
        after = arena + twin.malloc.av_size if heap == arena & -span else heap + twin.malloc.heap_info
        first = (after + 15) & ~15
        found.append(Heap(heap, first, heap + word(space, heap + HEAP_SIZE), top))
        heap = word(space, heap + HEAP_PREV)
    return found


class _Taking:
    """One walk over a twin. `used`: how far the heaps' own figures are."""

    def __init__(self, twin: Twin) -> None:
        self.twin = twin
        self.page = int(twin.space.page_size)
        self.arenas = arena_ring(twin)
        self.heaps = {heap.start: heap for arena in self.arenas[1:] for heap in heaps_of(twin, arena)}
        self.behind = 16 if twin.malloc.mapped_like_heap else 0  # bytes from a mapped chunk's end to its mapping's
        self.walk = HeapWalk(twin.space, kept_chunks(twin.malloc, self.arenas))
        self.top = word(twin.space, self.arenas[0] + twin.malloc.av_top) if self.arenas else 0
        self.trimmable_top = 0
        self.arena_free_bytes = 0
        self.pin: Pin | None = None

    def ledger(self, moment: Moment, event: int) -> Ledger:
        """Walk everything, and put the figures together."""
        spans = self.twin.owned()
        for start, end in spans:
            self._span(start, end)
        present, absent = self.walk.tallies()
        lines = dict.fromkeys(LINES, 0)
        lines.update(zip(_KINDS, present, strict=True))
        for line, value in moment.lines.items():
            lines[line] += value
        lost = self.twin.allocator_bytes() - sum(lines[line] for line in MALLOC_LINES)
        lines["unexplained"] += lost
        free = sum(absent[_KINDS.index(line)] for line in FREE_LINES)
        return Ledger(
            event=event,
            rss_bytes=sum(lines.values()),
            lines=lines,
            live_requested_bytes=self.walk.live_requested,
            live_blocks=self.walk.live_blocks,
            free_not_resident_bytes=free,
            live_not_resident_bytes=absent[_KINDS.index("live")] + absent[_KINDS.index("mapped")],
            trimmable_bytes=self.walk.trimmable + self.trimmable_top,
            arena_free_bytes=self.arena_free_bytes,
            arenas=max(len(self.arenas), 1),
            mmap_threshold=self.twin.malloc.mmap_threshold,
            recorder_bytes=moment.recorder,
            pin=self.pin,
        )

    def _span(self, start: int, end: int) -> None:
        """One stretch that is mapped for the allocator; several heaps and blocks may lie side by side in it."""
        while start < end:
            heap = self._heap_at(start)
            if heap:
                stop = min(heap.start + self.twin.malloc.heap_max, end)
                self._arena_heap(heap, stop)
            elif self._is_mapped(start):
                stop = self._end_of_mapped(start, end)
                self.walk.mapped_chunk(start, stop, self.behind // 2)
            else:
                stop = min([one for one in self.heaps if start < one < end], default=end)
                self._main_heap(start, stop)
            start = stop

    def _heap_at(self, address: int) -> Heap | None:
        return self.heaps.get(address & -int(self.twin.malloc.heap_max))

    def _is_mapped(self, start: int) -> bool:
        """Whether a block that was mapped by itself begins here."""
        if not self.twin.space.resident_pages(start, start + self.page):
            return False
        return bool(word(self.twin.space, start + 8) & IS_MMAPPED)

    def _end_of_mapped(self, start: int, end: int) -> int:
        """Where the block's mapping ends: its size says so, unless it was moved and began elsewhere once."""
        size = (word(self.twin.space, start + 8) & ~SIZE_BITS) + self.behind
        return start + size if size > self.behind and size % self.page == 0 and start + size <= end else end

    def _arena_heap(self, heap: Heap, stop: int) -> None:
        """A thread arena's heap, reservation and all."""
        before = self._free_present()
        self.walk.add(_OVERHEAD, heap.start, heap.first)
        self._chunks(heap.first, min(heap.end, stop), heap.top)
        self.walk.add(_ROUNDING, min(heap.end, stop), stop)
        self.arena_free_bytes += self._free_present() - before

    def _main_heap(self, start: int, end: int) -> None:
        """A stretch of the main arena."""
        before = self._free_present()
        live = self.walk.last_live
        free_before = self._free_all()
        self._chunks(start + (-start & 15), end, self.top)
        if start <= self.top < end:
            pages = (end - self.top - MINSIZE - 1) & -self.page
            self.trimmable_top = self.twin.resident(end - pages, end) if pages > 0 else 0
        if start <= self.twin.space.brk_start < end and self.walk.last_live != live:
            top_present = self.twin.resident((self.top + self.page) & -self.page, end) if self.top else 0
            self.pin = Pin(
                address=self.walk.last_live,
                size=self.walk.last_live_size,
                below_bytes=max(self._free_all() - free_before - max(end - self.top, 0), 0),
                resident_bytes=max(self._free_present() - before - top_present, 0),
            )

    def _chunks(self, first: int, end: int, top: int) -> None:
        """The chunks of one heap from `first` on; what follows the last one is no chunk's."""
        self.walk.add(_OVERHEAD, first, min(first + 8, end))
        last = self.walk.walk(first, end, top)
        if last == top:
            self.walk.top_chunk(top, end)
        elif last + 8 < end:
            self.walk.add(_ROUNDING, last + 8, end)

    def _free_present(self) -> int:
        present, _ = self.walk.tallies()
        return sum(present[_KINDS.index(line)] for line in FREE_LINES)

    def _free_all(self) -> int:
        present, absent = self.walk.tallies()
        return sum(present[_KINDS.index(line)] + absent[_KINDS.index(line)] for line in FREE_LINES)
