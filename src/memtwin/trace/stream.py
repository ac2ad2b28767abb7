# SPDX-License-Identifier: LGPL-2.1-or-later
"""One stream of a raw file: walks its chunks from event to event and keeps what stands between them.

The layout is host/raw_format.h's. A stream stands before an event, or has ended. The fields of the event are read by
decode.py with `varint`, `signed_varint` and `pointer_varint`, which check no end: a record is at most LONGEST_RECORD
bytes, so they run in the file's mapping until that many bytes before the chunk's end, and in a padded copy of the
chunk's last bytes from there on. A record that reaches beyond the end is torn, and whoever read it drops it.
"""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import cython

from memtwin.errors import TraceError

if not cython.compiled:
    from memtwin.hostmem import copy, fill, load8, load64

    MASK64 = (1 << 64) - 1
    OP_BITS = 0x3F
    SKIP, ERROR, LOW_BITS, TEXT, OUTCOME, SAMPLE, NOTE, BLOCK, REALLOC_NULL = 48, 49, 50, 51, 52, 53, 54, 55, 60
    LONGEST_RECORD = 128
    TAIL_BYTES = 512

    def varint(s: Stream) -> int:
        """The unsigned number at the stream's place, which moves behind it; at most 64 bits of it."""
        word = load64(s.at)
        if not word & 0x80:
            s.at += 1
            return word & 0x7F
        return s.long_varint()

    def signed_varint(s: Stream) -> int:
        """The same for a signed number: its 64 bits as an unsigned one."""
        value = varint(s)
        return (value >> 1) ^ (-(value & 1) & MASK64)

    def pointer_varint(s: Stream) -> int:
        """The same for a pointer, which is told as the distance from the one before."""
        s.pointer = (s.pointer + signed_varint(s)) & MASK64
        return (s.pointer << 4) & MASK64


MOST_THREADS = 1 << 22  # the kernel's own limit of tids
MOST_SAMPLES = 1 << 20  # that wait for their event
MOST_BLOCKS = 1 << 20
MAX_TEXT_BYTES = 64 << 20  # of one snapshot of the VMAs


class Chunk(NamedTuple):
    """Where a chunk's records lie in this process's memory, and what its header says."""

    records: int  # host address
    length: int  # bytes of records
    sequence: int
    thread: int


class Sample(NamedTuple):
    """A sample record: it precedes the event with this number; figures in the order of the mask's bits."""

    number: int
    time_ns: int
    mask: int
    figures: tuple[int, ...]


class Found:
    """What all streams of a file have found beside events. Keeps the file's mapping alive as long as they live."""

    def __init__(self, mapping: object) -> None:
        self.mapping = mapping
        self.threads: set[int] = set()
        self.samples: list[Sample] = []
        self.notes: dict[int, int] = {}  # enum raw_note -> its last value
        self.blocks: dict[int, int] = {}  # number of a mapped block's allocation -> most bytes of it in RAM
        self.bytes = 0  # of all chunks that have been begun
        self.damaged_chunks = 0  # chunks given up at a record of a kind that there is not


class Stream:
    """One stream. `advance` must be called once before the first event is read."""

    def __init__(self, chunks: list[Chunk], found: Found) -> None:
        self.chunks = chunks
        self.found = found
        self.chunk = -1
        self.tail_bytes = ctypes.create_string_buffer(TAIL_BYTES)
        self.tail = ctypes.addressof(self.tail_bytes)
        self.at = self.end = self.safe_end = 0
        self.number = self.last = self.skip = self.pointer = self.low_bits = self.error = self.thread = 0
        self.text: list[bytes] = []
        self.text_bytes = 0
        self.has_outcome = False
        self.outcome = 0

    def advance(self) -> bool:
        """Go to the next event and set `number` to its own; False when there is none."""
        while True:
            if self.at >= self.safe_end:
                if not self.more():
                    return False
                continue
            op = load8(self.at) & OP_BITS
            if op == 0:
                if not self.next_chunk():
                    return False
                continue
            if op < SKIP or op == REALLOC_NULL:
                self.number = (self.last + 1 + self.skip) & MASK64
                return True
            self.at += 1
            self.side_record(op)

    def more(self) -> bool:
        """The mapping may not be read from here on: move to a copy of the chunk's last bytes, or to the next chunk."""
        if self.at >= self.end:
            return self.next_chunk()
        left = self.end - self.at
        fill(self.tail, 0, TAIL_BYTES)
        copy(self.tail, self.at, left)
        self.at = self.tail
        self.end = self.safe_end = self.tail + left
        return True

    def next_chunk(self) -> bool:
        """Stand at the beginning of the stream's next chunk; False when there is none."""
        self.chunk += 1
        if self.chunk >= len(self.chunks):
            self.chunk = len(self.chunks)
            self.at = self.end = self.safe_end = 0
            return False
        chunk = self.chunks[self.chunk]
        self.found.bytes += chunk.length
        self.at = chunk.records
        self.end = chunk.records + chunk.length
        self.safe_end = self.end - LONGEST_RECORD if chunk.length > LONGEST_RECORD else self.at
        self.last = chunk.sequence
        self.skip = self.pointer = 0
        self.change_thread(chunk.thread)
        return True

    def change_thread(self, thread: int) -> bool:
        """The stream belongs to another thread from here on."""
        self.thread = thread & 0xFFFFFFFF
        if len(self.found.threads) < MOST_THREADS:
            self.found.threads.add(self.thread)
        return True

    def give_up(self) -> bool:
        """What stands here is no record: leave the rest of the chunk alone."""
        self.found.damaged_chunks += 1
        self.at = self.end
        return True

    def side_record(self, op: int) -> int:
        """Keep what a record that is no event says; its op byte is read already. A torn one ends the chunk."""
        if op == SKIP:
            self.skip = varint(self)
        elif op == ERROR:
            self.error = min(varint(self), 255)
        elif op == LOW_BITS:
            self.low_bits = varint(self) & 15
        elif op == TEXT:
            self.take_text()
        elif op == OUTCOME:
            self.outcome = signed_varint(self)
            self.has_outcome = self.at <= self.end
        elif op == SAMPLE:
            self.take_sample()
        elif op == NOTE:
            kind = varint(self)
            value = varint(self)
            if self.at <= self.end and kind < 64:
                self.found.notes[kind] = value
        elif op == BLOCK:
            self.take_block()
        else:
            self.give_up()
        if self.at > self.end:
            self.at = self.end
            self.skip = self.error = self.low_bits = 0
        return 0

    def take_text(self) -> bool:
        """Keep a piece of the text of this stream's next MAPS. TraceError when it is longer than any such text."""
        length = varint(self)
        if self.at > self.end or length > self.end - self.at:
            self.at = self.end
            return False
        self.text_bytes += length
        if self.text_bytes > MAX_TEXT_BYTES:
            raise TraceError(f"a snapshot of the mappings has more than {MAX_TEXT_BYTES} bytes of text")
        self.text.append(ctypes.string_at(self.at, length))
        self.at += length
        return True

    def take_sample(self) -> int:
        """Keep a sample."""
        number = (self.last + varint(self)) & MASK64
        time = varint(self)
        mask = varint(self)
        figures = []
        for bit in range(8):
            if mask >> bit & 1:
                figures.append(varint(self))
        if self.at <= self.end and mask < 256 and len(self.found.samples) < MOST_SAMPLES:
            self.found.samples.append(Sample(number, time, mask, tuple(figures)))
        return 0

    def take_block(self) -> int:
        """Keep how much of a mapped block was in RAM."""
        number = varint(self)
        resident = varint(self)
        blocks = self.found.blocks
        if self.at <= self.end and (number in blocks or len(blocks) < MOST_BLOCKS):
            blocks[number] = max(resident, blocks.get(number, 0))
        return 0

    def take_texts(self) -> list[bytes]:
        """The pieces of text since the last call."""
        text = self.text
        self.text = []
        self.text_bytes = 0
        return text

    def long_varint(self) -> int:
        """A number of any length."""
        value = 0
        shift = 0
        while shift < 70:
            byte = load8(self.at)
            self.at += 1
            if shift < 64:
                value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        return value & MASK64
