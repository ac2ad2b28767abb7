# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes raw files as host/raw_format.h describes them: the second truth of the decoder's tests."""

from __future__ import annotations

import struct
from pathlib import Path

GRAIN = 65536
MASK64 = 2**64 - 1


def varint(value: int) -> bytes:
    value &= MASK64
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def zigzag(value: int) -> bytes:
    value &= MASK64
    signed = value - 2**64 if value >> 63 else value
    return varint((signed << 1) ^ (signed >> 63))


class RawStream:
    """One stream of a raw file: records go into its current chunk, a new one begins when it is full."""

    def __init__(self, file: RawFileWriter, number: int, thread: int, length: int) -> None:
        self.file, self.number, self.thread, self.length = file, number, thread, length
        self.last = 0
        self.records = bytearray()
        self.start = 0
        self.pointer = 0

    def new_chunk(self) -> None:
        self.flush()
        self.start, self.pointer = self.last, 0

    def flush(self) -> None:
        if self.records:
            head = struct.pack("<IIQIIQ", 0x4B4E4843, self.length, self.start, self.thread, 0, self.number)
            self.file.chunks.append((head + self.records).ljust(self.length, b"\0"))
            self.records = bytearray()

    def side(self, op: int, *fields: bytes) -> None:
        """A record that is no event."""
        self.records += bytes([op]) + b"".join(fields)

    def event(self, op: int, *fields: int | tuple[str, int], flags: int = 0, number: int | None = None) -> None:
        """One event. A plain number is a V, ("Z", n) a signed one, ("P", address) a pointer."""
        number = self.file.take_number() if number is None else number
        if len(self.records) > self.length - 32 - 100:
            self.new_chunk()
        if not self.records:
            self.start, self.pointer = self.last, 0
        if number != self.last + 1:
            self.side(48, varint(number - self.last - 1))
        self.records.append(op | flags)
        for field in fields:
            kind, value = field if isinstance(field, tuple) else ("V", field)
            if kind == "P":
                delta = (value >> 4) - self.pointer
                self.pointer = value >> 4
                self.records += zigzag(delta)
            else:
                self.records += zigzag(value) if kind == "Z" else varint(value)
        self.last = number


class RawFileWriter:
    """A raw file in the making; `save` writes it."""

    def __init__(self, pid: int = 77, **header: int) -> None:
        self.header = {"pid": pid, "start_ns": 1000, "exact": 1, "page_size": 4096, "parent_pid": 1, **header}
        self.texts = {
            "libc_release": "2.36",
            "executable": "/bin/true",
            "command_line": "true%00-x",
            "cpus_allowed": "2",
            "cpus_online": "0-3,5\n",
        }
        self.chunks: list[bytes] = []
        self.streams: list[RawStream] = []
        self.number = 0

    def take_number(self) -> int:
        self.number += 1
        return self.number

    def stream(self, thread: int = 77, length: int = GRAIN) -> RawStream:
        self.streams.append(RawStream(self, len(self.streams) + 1, thread, length))
        return self.streams[-1]

    def save(self, path: Path) -> Path:
        for stream in self.streams:
            stream.flush()
        text = "".join(f"{name}={value}\n" for name, value in self.texts.items()).encode()
        get = self.header.get
        used = GRAIN + sum(map(len, self.chunks))
        head = struct.pack(
            "<QIIQQQIIQQQQIIIIQQQ", 0x314E4957544D454D, 1, self.header["pid"], used, self.header["start_ns"],
            get("start_realtime_ns", 0), self.header["parent_pid"], self.header["exact"], get("parent_start_ns", 0),
            get("parent_sequence", 0), get("start_brk", 0), get("brk", 0), self.header["page_size"], get("status", 0),
            get("error", 0), len(text), get("lost", 0), get("stopped_at", 0), get("process_start", 5))  # fmt: skip
        path.write_bytes((head.ljust(256, b"\0") + text).ljust(GRAIN, b"\0") + b"".join(self.chunks))
        return path
