# SPDX-License-Identifier: LGPL-2.1-or-later
"""The streams of a raw file merged into columns of events, a batch at a time.

The streams lie in a heap by the number of their next event. The first one runs until its number passes the next
stream's, so a program with one thread costs one comparison an event. Every row of a batch has a value in every
column; see schema.py for what each operation puts there.
"""

from __future__ import annotations

import bisect
from operator import attrgetter
from typing import NamedTuple

import cython
import numpy as np
import pyarrow as pa

from memtwin.errors import TraceError
from memtwin.trace.schema import EVENTS, Op
from memtwin.trace.stream import MAX_TEXT_BYTES, Found, Stream

if not cython.compiled:
    from memtwin.hostmem import load8, load64, store8, store32, store64
    from memtwin.trace.stream import MASK64, OP_BITS, REALLOC_NULL, pointer_varint, signed_varint, varint

    MALLOC, CALLOC, REALLOC, FREE, MEMALIGN, ALIGNED_ALLOC, VALLOC, PVALLOC, REALLOCARRAY = 1, 2, 3, 4, 5, 7, 8, 9, 10
    MALLOC_TRIM, MALLOPT, MMAP, MUNMAP, MREMAP, MADVISE, MPROTECT, BRK, SBRK = 11, 12, 16, 17, 18, 19, 20, 21, 22
    THREAD_CREATE, THREAD_START, THREAD_EXIT, FORK, EXEC, MAPS, LOST, END = 32, 33, 34, 35, 36, 40, 41, 42

_PENDING_TEXT = 16 << 20  # a batch ends early when its snapshots have this many bytes of text
_MOST_MARKS = 1 << 20  # gaps and forks that are kept, whatever a file holds


class Snapshot(NamedTuple):
    """A MAPS event: the text as the kernel wrote it."""

    number: int  # counted from 0 in the image
    event: int  # the row of the MAPS event
    time_ns: int
    with_rss: bool  # each line is led by the mapping's Rss in kB
    text: bytes


def row_of(gaps: list[tuple[int, int]], number: int) -> int:
    """The row of the event that the recorder gave this number, by a decoder's `gaps`."""
    first, row = gaps[max(bisect.bisect_right(gaps, (number, 1 << 64)) - 1, 0)]
    return max(number - first + row, 0)


class Decoder:
    """Rows from streams. `fill` makes the next batch in the columns' memory, which is used again and again."""

    def __init__(self, streams: list[Stream], found: Found, batch_rows: int = 1 << 17) -> None:
        self.found = found
        self.rows = self.rows_before = self.lost = self.disorder = self.allocated_bytes = self.last_time = 0
        self.expected = 1
        self.snapshots: list[Snapshot] = []  # of this batch
        self.forks: list[tuple[int, int]] = []  # row of the FORK event, pid of the child or 0
        self.gaps: list[tuple[int, int]] = [(1, 0)]  # from this number on, the event's row is this one
        self.last_text = b""
        self.snapshot_count = self.pending_text = 0
        self.capacity = self.limit = batch_rows
        # an event may bring a LOST row with it, hence one more
        self.columns = [np.zeros(batch_rows + 1, field.type.to_pandas_dtype()) for field in EVENTS]
        (self.op_at, self.flags_at, self.error_at, self.thread_at, self.size_at, self.pointer_at, self.argument_at,
         self.extra_at, self.result_at) = [column.ctypes.data for column in self.columns]  # fmt: skip
        self.count_of = np.zeros(64, np.uint64)
        self.counts = self.count_of.ctypes.data
        self.line_up(streams)

    def line_up(self, streams: list[Stream]) -> bool:
        """The heap of the streams that have an event: sorted by number to begin with."""
        ready = []
        for stream in streams:
            if stream.advance():
                ready.append(stream)
        self.streams = sorted(ready, key=attrgetter("number"))
        self.waiting = len(ready)
        self.heap_keys = np.array([*map(attrgetter("number"), self.streams), 0], np.uint64)
        self.heap_order = np.arange(len(ready) + 1, dtype=np.uint64)
        self.keys = self.heap_keys.ctypes.data
        self.order = self.heap_order.ctypes.data
        return True

    def fill(self) -> int:
        """Decode the next batch, at most `batch_rows` + 1 rows; how many there are, 0 at the end."""
        self.rows_before += self.rows
        self.rows = 0
        self.limit = self.capacity
        self.snapshots = []
        self.pending_text = 0
        while self.rows < self.limit and self.waiting:
            index = load64(self.order)
            stream = self.streams[index]
            if self.run(stream, self.second()):
                store64(self.keys, stream.number)
            else:
                self.waiting -= 1
                store64(self.keys, load64(self.keys + 8 * self.waiting))
                store64(self.order, load64(self.order + 8 * self.waiting))
            self.sink()
        return self.rows

    def batch(self) -> pa.RecordBatch:
        """The rows of this batch; they share the columns' memory, so they last until the next `fill`."""
        return pa.record_batch([column[: self.rows] for column in self.columns], schema=EVENTS)

    def operations(self) -> dict[str, int]:
        """Rows so far by the name of their operation."""
        return {op.name: int(self.count_of[op]) for op in Op if self.count_of[op]}

    # ---- the heap of streams, by the number of their next event --------------------------------------------------

    def second(self) -> int:
        """The lowest number of all streams but the first: how far the first may run."""
        if self.waiting < 2:
            return MASK64
        if self.waiting == 2:
            return load64(self.keys + 8)
        return min(load64(self.keys + 8), load64(self.keys + 16))

    def sink(self) -> None:
        """Move the heap's first entry down to where it belongs."""
        key = load64(self.keys)
        index = load64(self.order)
        at = 0
        while True:
            child = 2 * at + 1
            if child >= self.waiting:
                break
            if child + 1 < self.waiting and load64(self.keys + 8 * child + 8) < load64(self.keys + 8 * child):
                child += 1
            if load64(self.keys + 8 * child) >= key:
                break
            store64(self.keys + 8 * at, load64(self.keys + 8 * child))
            store64(self.order + 8 * at, load64(self.order + 8 * child))
            at = child
        store64(self.keys + 8 * at, key)
        store64(self.order + 8 * at, index)

    # ---- one stream ----------------------------------------------------------------------------------------------

    def run(self, s: Stream, limit: int) -> bool:
        """Turn this stream's events up to number `limit` into rows; False when the stream has ended."""
        while s.number <= limit and self.rows < self.limit:
            self.event(s)
            if not s.advance():
                if s.has_outcome:
                    self.take_outcome(s)
                return False
            if s.has_outcome:
                self.take_outcome(s)
        return True

    def event(self, s: Stream) -> bool:
        """One event, the frequent kinds here."""
        first = load8(s.at)
        op = first & OP_BITS
        flags = first >> 5 & 6
        s.at += 1
        size = pointer = argument = result = 0
        if op == FREE:
            pointer = pointer_varint(s) | s.low_bits
        elif op == MALLOC:
            size = varint(s)
            result = pointer_varint(s)
            self.allocated_bytes += size
        elif op == CALLOC:
            size = varint(s)
            argument = varint(s)
            result = pointer_varint(s)
            self.allocated_bytes += size * argument
        elif op == REALLOC:
            size = varint(s)
            pointer = pointer_varint(s) | s.low_bits
            result = pointer_varint(s)
            self.allocated_bytes += size
        elif op == REALLOC_NULL:
            op = REALLOC
            size = varint(s)
            result = pointer_varint(s)
            self.allocated_bytes += size
        else:
            return self.rare(s, op, flags)
        return self.put(s, op, flags, size, pointer, argument, 0, result)

    def rare(self, s: Stream, op: int, flags: int) -> bool:
        """The allocating calls that programs seldom make; then what is no allocation."""
        size = pointer = argument = result = 0
        if MEMALIGN <= op <= ALIGNED_ALLOC:
            argument = varint(s)
            size = varint(s)
            result = pointer_varint(s)
            self.allocated_bytes += size
        elif op in (VALLOC, PVALLOC):
            size = varint(s)
            result = pointer_varint(s)
            self.allocated_bytes += size
        elif op == REALLOCARRAY:
            size = varint(s)
            argument = varint(s)
            pointer = pointer_varint(s) | s.low_bits
            result = pointer_varint(s)
            self.allocated_bytes += size * argument
        elif op == MALLOC_TRIM:
            size = varint(s)
            result = varint(s)
        elif op == MALLOPT:
            argument = (signed_varint(s) & 0xFFFFFFFF) << 32
            argument |= signed_varint(s) & 0xFFFFFFFF
            result = varint(s)
        elif MMAP <= op <= SBRK:
            return self.mapping(s, op)
        else:
            return self.process(s, op)
        return self.put(s, op, flags, size, pointer, argument, 0, result)

    def mapping(self, s: Stream, op: int) -> bool:
        """The program's own system calls on its mappings."""
        size = pointer = argument = extra = 0
        if op == SBRK:
            size = signed_varint(s)
            return self.put(s, op, 0, size, 0, 0, 0, varint(s))
        pointer = varint(s)
        if op == BRK:
            return self.put(s, op, 0, 0, pointer, 0, 0, signed_varint(s))
        size = varint(s)
        if op == MUNMAP:
            return self.put(s, op, 0, size, pointer, 0, 0, signed_varint(s))
        if op == MADVISE:
            argument = signed_varint(s)
            return self.put(s, op, 0, size, pointer, argument, 0, signed_varint(s))
        argument = varint(s)
        if op == MPROTECT:
            return self.put(s, op, 0, size, pointer, argument, 0, signed_varint(s))
        extra = varint(s)
        if op == MMAP:
            argument = argument << 32 | extra & 0xFFFFFFFF
            extra = varint(s)
            return self.put(s, op, 0, size, pointer, argument, extra, varint(s))
        # MREMAP: old length, new length, flags, new address; the last one is also the result, or unused
        varint(s)
        return self.put(s, op, 0, argument, pointer, size, extra, varint(s))

    def process(self, s: Stream, op: int) -> bool:
        """Threads, children, snapshots, the end. A kind that there is not ends the chunk."""
        argument = 0
        if op == THREAD_CREATE:
            argument = varint(s)
        elif op == THREAD_START:
            s.change_thread(varint(s))
        elif op == MAPS:
            return self.take_maps(s)
        elif op == END:
            self.see_time(s, varint(s))
        elif op == FORK:
            self.note_fork(s)
        elif op != THREAD_EXIT and op != EXEC:
            s.give_up()
            return False
        return self.put(s, op, 0, 0, 0, argument, 0, 0)

    def put(
        self, s: Stream, op: int, flags: int, size: int, pointer: int, argument: int, extra: int, result: int
    ) -> bool:
        """Write the row of an event whose fields have been read; False when its record was torn, and no row is."""
        if s.at > s.end:
            s.at = s.end
            return False
        if s.number != self.expected:
            self.gap(s)
        row = self.rows
        store8(self.op_at + row, op)
        store8(self.flags_at + row, flags)
        store8(self.error_at + row, s.error)
        store32(self.thread_at + 4 * row, s.thread)
        row *= 8
        store64(self.size_at + row, size)
        store64(self.pointer_at + row, pointer)
        store64(self.argument_at + row, argument)
        store64(self.extra_at + row, extra)
        store64(self.result_at + row, result)
        self.rows += 1
        store64(self.counts + 8 * op, load64(self.counts + 8 * op) + 1)
        self.expected = s.number + 1
        s.last = s.number
        s.skip = s.error = s.low_bits = 0
        return True

    # ---- what happens seldom -------------------------------------------------------------------------------------

    def gap(self, s: Stream) -> bool:
        """The numbers from the expected one up to this event's are missing: one LOST row tells how many."""
        if s.number < self.expected:
            self.disorder += 1
        else:
            row = self.rows
            missing = s.number - self.expected
            self.lost = (self.lost + missing) & MASK64
            store8(self.op_at + row, LOST)
            store8(self.flags_at + row, 0)
            store8(self.error_at + row, 0)
            store32(self.thread_at + 4 * row, s.thread)
            for at in (self.size_at, self.pointer_at, self.extra_at, self.result_at):
                store64(at + 8 * row, 0)
            store64(self.argument_at + 8 * row, missing)
            store64(self.counts + 8 * LOST, load64(self.counts + 8 * LOST) + 1)
            self.rows += 1
        if len(self.gaps) < _MOST_MARKS:
            self.gaps.append((s.number, self.rows_before + self.rows))
        return True

    def see_time(self, s: Stream, time_ns: int) -> None:
        """A time mark, unless its record is torn."""
        if s.at <= s.end and time_ns > self.last_time:
            self.last_time = time_ns

    def note_fork(self, s: Stream) -> bool:
        """Remember where a FORK stands; its child's pid comes with the outcome."""
        gap = 1 if s.number > self.expected else 0
        if len(self.forks) < _MOST_MARKS:
            self.forks.append((self.rows_before + self.rows + gap, 0))
        return True

    def take_outcome(self, s: Stream) -> bool:
        """What came of this stream's last event, which is the last row: the child's pid of a FORK, or a failure."""
        s.has_outcome = False
        if self.rows == 0:
            return False
        row = self.rows - 1
        op = load8(self.op_at + row)
        failed = s.outcome >> 63
        if failed:
            store8(self.error_at + row, min(-s.outcome & MASK64, 255))
        if op == FORK:
            store64(self.argument_at + 8 * row, MASK64 if failed else s.outcome)
            last = len(self.forks) - 1  # negative indices are not for compiled code
            if last >= 0 and self.forks[last][0] == self.rows_before + row:
                self.forks[last] = (self.rows_before + row, 0 if failed else s.outcome)
        elif op == EXEC and failed:
            store64(self.result_at + 8 * row, MASK64)
        return True

    def take_maps(self, s: Stream) -> bool:
        """A snapshot: its text is told as what differs from the one before."""
        time = varint(s)
        kind = varint(s)
        prefix = varint(s)
        suffix = varint(s)
        self.see_time(s, time)
        if not self.put(s, MAPS, 0, 0, 0, self.snapshot_count, 0, 0):
            return False
        text = self.last_text
        head = text[: min(prefix, len(text))]
        tail = text[len(text) - suffix :] if suffix <= len(text) else text
        text = b"".join([head, *s.take_texts(), tail])
        if len(text) > MAX_TEXT_BYTES:
            raise TraceError(f"a snapshot of the mappings has more than {MAX_TEXT_BYTES} bytes of text")
        self.last_text = text
        row = self.rows_before + self.rows - 1
        self.snapshots.append(Snapshot(self.snapshot_count, row, time, bool(kind & 1), text))
        self.snapshot_count += 1
        self.pending_text += len(text)
        if self.pending_text > _PENDING_TEXT:
            self.limit = self.rows
        return True
