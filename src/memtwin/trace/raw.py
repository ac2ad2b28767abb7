# SPDX-License-Identifier: LGPL-2.1-or-later
"""A raw file of the recorder: its header, its texts, and its chunks sorted into streams. See host/raw_format.h."""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import numpy as np

from memtwin.errors import TraceError
from memtwin.trace.decode import Decoder
from memtwin.trace.parquet import open_plain_file
from memtwin.trace.stream import Chunk, Found, Stream

MAGIC, VERSION = 0x314E4957544D454D, 1
GRAIN = 65536
CHUNK_MAGIC = 0x4B4E4843
TEXT_AT = 256
OTHER_MALLOC = 3  # enum raw_status
STATUS_WORDS = {
    1: "the disk was full",
    2: "the file was not allowed to grow further",
    OTHER_MALLOC: "the program brings its own malloc",
    4: "the program had too many threads",
    5: "the program's seccomp filter lets the file grow no further",
}

_CHUNK = struct.Struct("<IIQIIQ")


class RawHeader(NamedTuple):
    """`struct raw_header`, field by field."""

    magic: int
    version: int
    pid: int
    used: int
    start_ns: int
    start_realtime_ns: int
    parent_pid: int
    exact: int
    parent_start_ns: int
    parent_sequence: int
    start_brk: int
    brk: int
    page_size: int
    status: int
    error: int
    text_length: int
    lost: int
    stopped_at: int
    process_start: int


HEADER = struct.Struct("<QIIQQQIIQQQQIIIIQQQ")


class RawFile:
    """One raw file, mapped as long as it or a decoder of it lives.

    TraceError when it is no raw file, or one of another version. A file without a finished header says so too.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        descriptor = open_plain_file(path)
        try:
            head = os.pread(descriptor, GRAIN, 0)
            if len(head) < HEADER.size:
                raise TraceError(f"{path}: only {len(head)} bytes, no raw file of the recorder")
            self.header = RawHeader(*HEADER.unpack_from(head))
            self._check(path)
            self._texts = head[TEXT_AT : TEXT_AT + self.header.text_length]
            # The file is sparse and up to a TiB long: only what has been handed out to chunks is mapped.
            self.size = min(os.fstat(descriptor).st_size, max(self.header.used, GRAIN))
            self._map = mmap.mmap(descriptor, self.size, mmap.MAP_SHARED, mmap.PROT_READ)
            self.streams = self._streams(descriptor)
        finally:
            os.close(descriptor)

    def _check(self, path: Path) -> None:
        if self.header.magic != MAGIC:
            kind = "its header was never finished" if self.header.magic == 0 else "no raw file of the recorder"
            raise TraceError(f"{path}: {kind}")
        if self.header.version != VERSION:
            raise TraceError(f"{path}: raw format {self.header.version}; this memtwin reads format {VERSION}")

    @property
    def name(self) -> tuple[int, int]:
        """What names the image among its relatives: pid and start."""
        return self.header.pid, self.header.start_ns

    def texts(self) -> dict[str, str]:
        """The named texts of the header. Bytes that are no UTF-8 become lone surrogates, as os.fsdecode does."""
        pairs = (line.partition(b"=") for line in self._texts.split(b"\n") if b"=" in line)
        return {os.fsdecode(name): os.fsdecode(unquote_to_bytes(value)) for name, _, value in pairs}

    def decoder(self, batch_rows: int = 1 << 17) -> Decoder:
        """A decoder of all events, from the first on."""
        found = Found(self._map)
        return Decoder([Stream(chunks, found) for chunks in self.streams], found, batch_rows)

    def forget_pages(self) -> None:
        """Give back the memory of what has been read; it comes again from the page cache when needed."""
        self._map.madvise(mmap.MADV_DONTNEED)

    def _streams(self, descriptor: int) -> list[list[Chunk]]:
        """The chunks of each stream, in the order of the file."""
        base = np.frombuffer(self._map, np.uint8).ctypes.data
        streams: dict[int, list[Chunk]] = {}
        offset = GRAIN
        while offset + _CHUNK.size <= self.size:
            # Not through the mapping: a look at each chunk would bring the whole file into this process.
            head = os.pread(descriptor, _CHUNK.size, offset)
            if len(head) < _CHUNK.size:
                break  # the file has been cut short meanwhile
            magic, length, sequence, thread, _, stream = _CHUNK.unpack(head)
            if magic != CHUNK_MAGIC or length < _CHUNK.size:
                offset = _next_data(descriptor, offset + GRAIN)
                continue
            room = min(offset + length, self.size) - offset - _CHUNK.size
            streams.setdefault(stream, []).append(Chunk(base + offset + _CHUNK.size, room, sequence, thread))
            offset += -(-length // GRAIN) * GRAIN
        return list(streams.values())


def _next_data(descriptor: int, offset: int) -> int:
    """The grain at or behind `offset` that has data; far behind the file's end when there is none."""
    try:
        data = os.lseek(descriptor, offset, os.SEEK_DATA)
    except OSError:
        return 1 << 62
    return max(offset, data // GRAIN * GRAIN)
