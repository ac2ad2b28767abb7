# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""HeapWalk: every byte of the allocator's memory on one line of the ledger, and whether it has RAM behind it.

Bytes are dealt out so that each belongs to one chunk. A chunk's header is its size word alone, because the word before
it is the end of the chunk before while that one is in use:

      chunk          +8            +16                      next chunk       +8
      +--------------+-------------+------------------------+----------------+
      | (previous's) | size, flags | what the program has   | end of it      |   [chunk + 8, next + 8) is this chunk's
      +--------------+-------------+------------------------+----------------+

Reading a header costs no page: allocator and walk agree on where headers are, and those pages have been written.
"""

from __future__ import annotations

import cython
import numpy as np
import numpy.typing as npt

from memtwin.kernel.addrspace import AddressSpace

if not cython.compiled:
    from memtwin.hostmem import load64
    from memtwin.memory import load_u64

    LIVE, OVERHEAD, TCACHE, FAST, FREE, TOP, MAPPED, ROUNDING, KINDS = range(9)

MARK_TCACHE, MARK_FAST = 0, 1
_HEADER = 16
_FREE_CHUNK = 48  # sizeof (struct malloc_chunk): what malloc_trim leaves of a free chunk's start


class HeapWalk:
    """Tallies of memory in `space`. `marks`: sorted addresses (of the memory, not the chunk) that are free although
    their chunks look in use, in a thread's cache, or with bit 0 set in a fast bin.

    live_blocks, live_requested: blocks of the program, and what it asked for. trimmable: bytes of resident whole pages
    in free chunks. last_live: memory of the live block with the highest address so far, and last_live_size what was
    asked for. damaged: address of a chunk whose size cannot be, where a walk ended early; 0 when there was none.
    """

    def __init__(self, space: AddressSpace, marks: npt.NDArray[np.uint64]) -> None:
        self.space = space
        self.keep = marks
        self.marks = marks.ctypes.data
        self.marks_left = len(marks)
        self.page = self.page_present = 0
        self.live_blocks = self.live_requested = self.trimmable = self.chunks = 0
        self.last_live = self.last_live_size = self.damaged = 0
        if not cython.compiled:
            self.present = [0] * KINDS
            self.absent = [0] * KINDS

    def tallies(self) -> tuple[list[int], list[int]]:
        """Bytes by kind, LIVE to ROUNDING: resident, and not resident."""
        return [int(self.present[i]) for i in range(KINDS)], [int(self.absent[i]) for i in range(KINDS)]

    def walk(self, start: int, stop: int, top: int) -> int:
        """Tally the chunks of [start, stop) in order of address; where they end.

        They end at `top`, the arena's last chunk, at a fencepost (a chunk of 16 bytes), or at `stop`. What lies
        between the end and `stop` is the caller's.
        """
        chunk = start
        size = load_u64(self.space, chunk + 8) & ~7
        while chunk < stop and chunk != top:
            if size <= _HEADER:
                break
            following = chunk + size
            if following > stop or following < chunk:
                self.damaged = chunk
                break
            word = load_u64(self.space, following + 8) if following < stop else 1
            self.chunks += 1
            if word & 1:
                self.in_use(chunk, size)
            else:
                self.free_chunk(chunk, size)
            chunk = following
            size = word & ~7
        return chunk

    def in_use(self, chunk: int, size: int) -> None:
        """A chunk that its neighbours see in use: live, or kept in a cache or fast bin."""
        mark = self.marked(chunk + _HEADER)
        if mark >= 0:
            self.add(FAST if mark else TCACHE, chunk + 8, chunk + size + 8)
            return
        self.add(OVERHEAD, chunk + 8, chunk + _HEADER)
        self.live_block(LIVE, chunk + _HEADER, size - 8)

    def live_block(self, kind: int, memory: int, usable: int) -> None:
        """A block of the program: what it asked for is `kind`, the rest padding."""
        asked = self.requested(memory, usable)
        self.live_blocks += 1
        self.live_requested += asked
        if kind == LIVE:
            self.last_live, self.last_live_size = memory, asked
        self.add(kind, memory, memory + asked)
        self.add(ROUNDING if kind == MAPPED else OVERHEAD, memory + asked, memory + usable)

    def requested(self, memory: int, usable: int) -> int:
        """What the program asked for, as the player has left it in the block; `usable` when it has not."""
        if not self.resident(memory):
            return usable
        asked = load_u64(self.space, memory)
        return asked - 1 if 0 < asked <= usable + 1 else usable

    def free_chunk(self, chunk: int, size: int) -> None:
        """A chunk in a bin."""
        self.add(FREE, chunk + 8, chunk + size + 8)
        mask = self.space.page_size - 1
        first = (chunk + _FREE_CHUNK + mask) & ~mask
        last = (chunk + size) & ~mask
        if last > first:
            self.trimmable += self.space.resident_pages(first, last) << self.space.page_shift

    def mapped_chunk(self, start: int, end: int, behind: int) -> None:
        """A block that was mapped by itself, in [start, end); its last `behind` bytes are not the program's."""
        self.add(OVERHEAD, start, start + _HEADER)
        self.live_block(MAPPED, start + _HEADER, end - start - _HEADER - behind)
        self.add(OVERHEAD, end - behind, end)

    def top_chunk(self, chunk: int, end: int) -> None:
        """The free end of a heap, of which a trim gives back all whole pages but the first."""
        self.add(TOP, chunk + 8, end)

    def marked(self, memory: int) -> int:
        """0 or 1 when the next mark is this address, which is then passed; -1 otherwise."""
        while self.marks_left:
            mark = load64(self.marks)
            if mark & ~1 > memory:
                return -1
            self.marks += 8
            self.marks_left -= 1
            if mark & ~1 == memory:
                return int(mark & 1)
        return -1

    def add(self, kind: int, start: int, end: int) -> None:
        """Deal [start, end) to a line, page by page, whole pages in one go."""
        page_size = self.space.page_size
        while start < end:
            offset = start & (page_size - 1)
            if offset == 0 and end - start >= 2 * page_size:
                stop = end & ~(page_size - 1)
                present = self.space.resident_pages(start, stop) << self.space.page_shift
            else:
                stop = start - offset + page_size
                if stop > end:
                    stop = end
                present = stop - start if self.resident(start) else 0
            self.present[kind] += present
            self.absent[kind] += stop - start - present
            start = stop

    def resident(self, address: int) -> bool:
        """Whether the page at `address` is in RAM; the page asked about last is remembered."""
        page = address >> self.space.page_shift
        if page != self.page:
            self.page = page
            start = page << self.space.page_shift
            self.page_present = self.space.resident_pages(start, start + self.space.page_size)
        return bool(self.page_present)
