# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Player: the loop that plays a trace's allocator calls in the twin and compares every address.

Whatever is no allocator call (mmap, fork, snapshots, threads' ends …) stops the loop, for replay.py to handle.

Addresses. While the twin returns what was recorded, a recorded pointer is the twin's pointer. Where the two differ,
by a what-if setting or after a mismatch, `moved` knows the twin's pointer; a recorded pointer that is not in there is
still the same in both. In a strict replay, of a trace with gaps, every live block is in `moved` and any other pointer
is unknown: its free is left out, and a block that the program gets while `moved` has one at that address says that
the free of that one is what was lost.

Sizes. How much the program asked for stands, plus one, in the first word of each live block, where the program would
have its own bytes: the allocator never reads that word. A page that has no bytes yet is left without (the word then
reads as 0), and the block counts as if all its usable bytes had been asked for.

Speed. Most calls are served by the thread's cache, and inlined here (libc/quick.py). The trace says which blocks the
next calls are about, so that their headers are fetched into the processor's cache before they are needed.

Touching. Of a block that malloc mapped by itself the trace says how much of it was in RAM: so much, from its beginning,
is written to. Of others, by facts that were measured on real programs: every page of a malloc'ed block is resident,
of a calloc'ed one those that calloc itself clears, of a realloc'ed one those that are new.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cython
import numpy as np

from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.mm import RLIM_INFINITY
from memtwin.libc.malloc import Malloc
from memtwin.replay.addressmap import AddressMap
from memtwin.replay.timeline import TimeLine

if not cython.compiled:
    from memtwin.hostmem import load8, load32, load64, prefetch, store64
    from memtwin.kernel.flags import TOUCHED
    from memtwin.libc.quick import quick_bins, quick_free, quick_malloc
    from memtwin.memory import READ, WRITE, load_u64, store_u64
    from memtwin.trace.schema import Op

    OP_MALLOC, OP_CALLOC, OP_REALLOC, OP_FREE = Op.MALLOC, Op.CALLOC, Op.REALLOC, Op.FREE
    OP_MEMALIGN, OP_POSIX_MEMALIGN, OP_ALIGNED_ALLOC = Op.MEMALIGN, Op.POSIX_MEMALIGN, Op.ALIGNED_ALLOC
    OP_VALLOC, OP_PVALLOC, OP_REALLOCARRAY = Op.VALLOC, Op.PVALLOC, Op.REALLOCARRAY
    NOTHING, AHEAD, CHUNK_HEADER = 1, 12, 16

if TYPE_CHECKING:
    import pyarrow as pa

    from memtwin.trace.reader import Columns


class Player:
    """Plays events on `malloc`, whose address space is `space`; `line` gets the RSS over time.

    strict, what_if: see above; a replay that is neither pauses after its first mismatch, so that it can be looked at.
    other_bytes: resident bytes of the process that are not the twin's, added to every RSS noted.
    compared, equal: allocating calls so far, and those with the recorded address; unknown: pointers of which the
    trace does not say where they come from; live_bytes: what the program has asked for and not freed.
    """

    def __init__(self, malloc: Malloc, space: AddressSpace, line: TimeLine) -> None:
        self.malloc = malloc
        self.space = space
        self.window, self.permissions, self.mask = self.space.window, self.space.permissions, self.space.mask
        self.page_shift = self.space.page_shift
        self.line = line
        self.moved = AddressMap()
        self.strict = self.what_if = self.differs = self.pause = False
        self.other_bytes = self.live_bytes = 0
        self.compared = self.equal = self.unknown = 0
        self.mismatch_event = self.mismatch_recorded = self.mismatch_twin = 0
        self.first = self.rows = self.tid = 0
        self.pages = -1
        self.measured = np.zeros((0, 2), np.uint64)
        self.next_measured = self.measured_end = 0

    def know_blocks(self, blocks: pa.Table) -> None:
        """How much of the blocks of some events was in RAM: a table of the schema BLOCKS, before the first event."""
        columns = [blocks[name].to_numpy() for name in ("event", "resident_bytes")]
        self.measured = np.ascontiguousarray(np.column_stack(columns), np.uint64)
        self.next_measured = self.measured.ctypes.data
        self.measured_end = self.next_measured + self.measured.nbytes

    def fork(self, malloc: Malloc, space: AddressSpace, line: TimeLine) -> Player:
        """The child's player, in the state of this one; its counts begin at 0."""
        child = Player(malloc, space, line)
        child.moved = self.moved.copy()
        child.strict, child.what_if = self.strict, self.what_if
        child.other_bytes, child.live_bytes = self.other_bytes, self.live_bytes
        return child

    def load(self, columns: Columns) -> None:
        """The next events to play; they stay referenced, not copied."""
        self.columns = columns
        self.first = columns.start
        self.rows = len(columns)
        self.op = columns.op.ctypes.data
        self.thread = columns.thread.ctypes.data
        self.size = columns.size.ctypes.data
        self.pointer = columns.pointer.ctypes.data
        self.argument = columns.argument.ctypes.data
        self.result = columns.result.ctypes.data

    def play(self, start: int, stop: int) -> int:
        """Play rows [start, stop) of the loaded events; the row of the first one that is left, or `stop`.

        It stops before an event that is no allocator call, after the first mismatch, and after the twin's end.
        """
        malloc, space, line = self.malloc, self.space, self.line
        i = start
        bins = quick_bins(malloc)
        until = self.span_end()
        ahead = self.rows - AHEAD if self.rows > AHEAD else 0
        while i < stop:
            op = load8(self.op + i)
            tid = load32(self.thread + 4 * i)
            if tid != self.tid:
                self.tid = tid
                malloc.switch_thread(tid)
                bins = quick_bins(malloc)
            if i < ahead:
                # a free's block or the one that a malloc will give, if the twin has it where the trace says
                address = load64(self.pointer + 8 * (i + AHEAD)) | load64(self.result + 8 * (i + AHEAD))
                prefetch(self.window + (address & self.mask))
                prefetch(self.window + (address & self.mask) - 16)
            if op == OP_MALLOC:
                size = load64(self.size + 8 * i)
                got = quick_malloc(malloc, size, bins, size + 1)
                if got:
                    if self.settle_quick(i, got, size) and i < until:
                        i += 1
                        continue
                else:
                    self.play_malloc(i, size)
                    bins = quick_bins(malloc)
            elif op == OP_FREE:
                address = self.take(load64(self.pointer + 8 * i))
                first = quick_free(malloc, address, bins)
                if first:
                    self.live_bytes -= first - 1
                    if i < until:
                        i += 1
                        continue
                else:
                    self.play_free(address)
                    bins = quick_bins(malloc)
            elif self.play_other(i, op):
                bins = quick_bins(malloc)
            else:
                return i
            if space.anon_pages != self.pages or self.first + i >= line.next:
                self.note_rss(self.first + i)  # in each span of the line: what lives changes without the RSS
                until = self.span_end()
            i += 1
            if self.pause or (bins == 0 and (malloc.dead or space.stop_signal)):
                self.pause = False
                return i
        return stop

    def play_malloc(self, i: int, size: int) -> None:
        """malloc: the program writes all of the block."""
        self.limit_call(i, size)
        got = self.malloc.malloc(size)
        self.limit_ends()
        if got:
            self.fill(got, self.written(i, size, size))
        self.settle(i, got, size)

    def written(self, i: int, size: int, otherwise: int) -> int:
        """How many bytes of the new block the program writes to: as many as were seen in RAM, if anybody looked."""
        event = self.first + i
        while self.next_measured < self.measured_end and load64(self.next_measured) < event:
            self.next_measured += 16
        if self.next_measured == self.measured_end or load64(self.next_measured) != event:
            return otherwise
        resident = load64(self.next_measured + 8)
        return min(size, resident - CHUNK_HEADER if resident > CHUNK_HEADER else 0)

    def limit_call(self, i: int, size: int) -> None:
        """A call that failed fails in the twin too: its kernel refuses what is half as large as the block, or larger.

        Why the real kernel refused (overcommit, a limit, a group's) is not in the trace; smaller mappings that the
        allocator made on its way, such as a thread's heap, it may have given.
        """
        if load64(self.result + 8 * i) == 0:
            self.space.as_limit = (self.space.total_vm << self.page_shift) + size // 2

    def limit_ends(self) -> None:
        """After the call."""
        self.space.as_limit = RLIM_INFINITY

    def span_end(self) -> int:
        """The row from which on the line of time wants a note though the resident pages are the same."""
        return self.line.next - self.first if self.line.next > self.first else 0

    def settle_quick(self, i: int, got: int, size: int) -> bool:
        """The rest of a malloc that was quick: the block's first page is written to, its size noted.

        Returns whether that was all: no page is new, and the address is the recorded one.
        """
        last = ((got + size - 1) & self.mask) >> self.page_shift
        self.live_bytes += size
        wanted = load64(self.result + 8 * i)
        if got == wanted and load8(self.permissions + last) & TOUCHED and not self.strict:
            self.compared += 1
            self.equal += 1
            return True
        self.space.touch(got, size, WRITE)
        self.bind_result(i, got)
        return False

    def play_free(self, address: int) -> None:
        """free, of a pointer that is not NULL and perhaps unknown."""
        if address > NOTHING:
            had = self.requested(address)
            self.malloc.free(address)
            if not self.malloc.dead:  # else it was no block: its size is anything
                self.live_bytes -= had

    def play_calloc(self, i: int) -> None:
        """calloc: what it clears is resident; no more, unless that was seen."""
        count = load64(self.size + 8 * i)
        each = load64(self.argument + 8 * i)
        self.limit_call(i, count * each)
        got = self.malloc.calloc(count, each)
        self.limit_ends()
        if got:
            self.fill(got, self.written(i, count * each, 0))
        self.settle(i, got, count * each)

    def play_other(self, i: int, op: int) -> bool:
        """The rarer calls; False when this event is none of the allocator's."""
        if op == OP_CALLOC:
            self.play_calloc(i)
        elif op == OP_REALLOC:
            self.play_realloc(i, load64(self.size + 8 * i))
        elif op == OP_REALLOCARRAY:
            count = load64(self.size + 8 * i)
            each = load64(self.argument + 8 * i)
            if each and count > 0xFFFFFFFFFFFFFFFF // each:
                self.compare(i, 0)
            else:
                self.play_realloc(i, count * each)
        elif OP_MEMALIGN <= op <= OP_PVALLOC:
            self.play_aligned(i, op)
        else:
            return False
        return True

    def play_aligned(self, i: int, op: int) -> None:
        """The memalign family: the program writes all of the block."""
        size = load64(self.size + 8 * i)
        alignment = load64(self.argument + 8 * i)
        self.limit_call(i, size)
        if op == OP_MEMALIGN:
            got = self.malloc.memalign(alignment, size)
        elif op == OP_POSIX_MEMALIGN:
            got = self.malloc.posix_memalign(alignment, size)
        elif op == OP_ALIGNED_ALLOC:
            got = self.malloc.aligned_alloc(alignment, size)
        elif op == OP_VALLOC:
            got = self.malloc.valloc(size)
        else:
            got = self.malloc.pvalloc(size)
        self.limit_ends()
        if got:
            self.fill(got, self.written(i, size, size))
        self.settle(i, got, size)

    def play_realloc(self, i: int, size: int) -> None:
        """realloc: what is new in the block is resident, and all of a block that was copied."""
        recorded = load64(self.pointer + 8 * i)
        old = self.take(recorded) if recorded else 0
        if old <= NOTHING:
            old = 0
        had = self.requested(old) if old else 0
        self.limit_call(i, size)
        got = self.malloc.realloc(old, size)
        self.limit_ends()
        written = self.written(i, size, size)
        if got and (got != old or written < size):
            self.fill(got, written)
        elif got and size > had:
            self.fill(got + had, size - had)
        self.settle_realloc(i, old, got, had, size)

    def settle_realloc(self, i: int, old: int, got: int, had: int, size: int) -> None:
        """Bind what realloc gave; a realloc that failed, in the program or in the twin, has left the old block."""
        if old and (got or not size):
            self.live_bytes -= had
        if got or not old or not size:
            self.settle(i, got, size)
            return
        # the twin found no memory: its old block now stands for whatever the program has
        self.compare(i, 0)
        wanted = load64(self.result + 8 * i)
        self.bind(wanted if wanted else load64(self.pointer + 8 * i), old)

    def settle(self, i: int, got: int, size: int) -> None:
        """An allocating call is done: compare, bind the recorded pointer to the twin's, keep the size."""
        wanted = load64(self.result + 8 * i)
        if got:
            self.live_bytes += self.note_size(got, size)
            if got == wanted and not self.strict:
                self.compared += 1
                self.equal += 1
                return
        self.bind_result(i, got)

    def bind_result(self, i: int, got: int) -> None:
        """Compare, and bind what the program got to what the twin gave; what only the twin gave it takes back."""
        wanted = load64(self.result + 8 * i)
        self.compare(i, got)
        if wanted:
            if got != wanted or self.strict:
                self.bind(wanted, got if got else NOTHING)
        elif got:
            self.live_bytes -= self.requested(got)
            self.malloc.free(got)

    def compare(self, i: int, got: int) -> None:
        """Count an address that was compared, and remember the first that differs."""
        self.compared += 1
        wanted = load64(self.result + 8 * i)
        if got == wanted:
            self.equal += 1
        elif not self.differs:
            self.differs = True
            self.mismatch_event = self.first + i
            self.mismatch_recorded = wanted
            self.mismatch_twin = got
            self.pause = not self.what_if

    def bind(self, recorded: int, got: int) -> None:
        """From now on the recorded pointer is this one of the twin's; a block that was still there is freed."""
        if self.strict:
            lost = self.moved.pop(recorded)
            if lost > NOTHING and lost != got:
                self.live_bytes -= self.requested(lost)
                self.malloc.free(lost)
        self.moved.put(recorded, got)

    def take(self, recorded: int) -> int:
        """The twin's pointer of a block that the program gives back; 0 when nobody knows."""
        if self.moved.count == 0 and not self.strict:
            return recorded
        address = self.moved.pop(recorded)
        if address == 0:
            if not self.strict:
                return recorded
            self.unknown += 1
        return address

    def fill(self, address: int, size: int) -> None:
        """The program writes all of a new block; nearly always it is in one page, and that is resident already."""
        at = (address & self.mask) >> self.page_shift
        last = ((address + size - 1) & self.mask) >> self.page_shift
        if size and (at != last or not load8(self.permissions + at) & TOUCHED):
            if size >> self.page_shift > self.space.frames.free >> 1:  # no real machine: more than there is
                size = self.space.frames.free >> 1 << self.page_shift
            self.space.touch(address, size, WRITE)

    def note_size(self, address: int, size: int) -> int:
        """Keep what was asked for, plus one, in the block's first word, if its page has bytes at all.

        Returns what `requested` will say.
        """
        at = address & self.mask
        bits = load8(self.permissions + (at >> self.page_shift))
        if bits & WRITE:
            store64(self.window + at, size + 1)
            return size
        if bits & READ:
            store_u64(self.space, address, size + 1)
        return self.requested(address)

    def requested(self, address: int) -> int:
        """What was asked for, of a live block; all its usable bytes when that is not known."""
        at = address & self.mask
        size = 0
        if load8(self.permissions + (at >> self.page_shift)) & READ:
            size = load64(self.window + at)
        elif address & (self.space.page_size - 1):
            size = load_u64(self.space, address)  # resident, as its header is, but elsewhere than in the window
        return size - 1 if size else self.malloc.malloc_usable_size(address)

    def note_rss(self, event: int) -> None:
        """The resident pages are others after `event`; not below 0, whatever was measured."""
        self.pages = self.space.anon_pages
        rss = (self.pages << self.space.page_shift) + self.other_bytes
        self.line.note(event, rss if rss > 0 else 0, self.live_bytes if self.live_bytes > 0 else 0, self.pages)

    def set_other(self, event: int, other_bytes: int) -> None:
        """What the process has resident besides the twin's pages, from `event` on; may be negative."""
        self.other_bytes = other_bytes
        self.note_rss(event)
