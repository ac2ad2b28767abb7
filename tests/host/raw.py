# SPDX-License-Identifier: LGPL-2.1-or-later
"""A plain reader of the recorder's raw files for these tests, written from raw_format.h's text alone."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from urllib.parse import unquote_to_bytes

GRAIN, TEXT_AT = 65536, 256
HEADER = struct.Struct("<QIIQQQIIQQQQIIIIQQQ")
NAMES = (
    "magic version pid used start_ns start_realtime_ns parent_pid exact parent_start_ns parent_sequence start_brk brk "
    "page_size status error text_length lost stopped_at process_start"
).split()
CHUNK = struct.Struct("<IIQIIQ")

_text = (files("memtwin.host") / "raw_format.h").read_text()
OPS = {
    int(number): name
    for name, number in re.findall(r"RAW_(\w+) = (\d+),", _text.split("enum raw_op {")[1].split("};")[0])
}
# Fields of each op, as its comment says: V, Z or P.
FIELDS = {
    name: re.findall(r"(?:^|, )([VZP]) ", note.replace("an event, number and all: REALLOC with old = NULL. ", ""))
    for name, note in re.findall(r"RAW_(\w+) = \d+, +/\* (.*?) ?(?:\*/|\n)", _text.split("enum raw_op {")[1])
}


@dataclass
class Event:
    """One event; `fields` in the record's order, pointers whole."""

    number: int
    op: str
    thread: int
    fields: list[int]
    bits: int = 0
    error: int = 0


@dataclass
class Image:
    """One raw file, decoded."""

    path: Path
    header: dict[str, int]
    texts: dict[str, str]
    events: list[Event] = field(default_factory=list)
    samples: list[tuple[int, int, list[int]]] = field(default_factory=list)
    maps: list[tuple[int, int, str]] = field(default_factory=list)  # number, kind, text
    outcomes: list[int] = field(default_factory=list)
    notes: list[tuple[int, int]] = field(default_factory=list)
    blocks: list[tuple[int, int]] = field(default_factory=list)  # number of the allocation, bytes in RAM

    def ops(self) -> list[str]:
        """The operations in order."""
        return [event.op for event in self.events]

    def gaps(self) -> int:
        """How many numbers no record has."""
        return (self.events[-1].number if self.events else 0) - len(self.events)


def read(path: Path) -> Image:
    """Decode a raw file; AssertionError when it breaks the format's rules."""
    data = path.read_bytes() if path.stat().st_size < 1 << 28 else _used(path)
    header = dict(zip(NAMES, HEADER.unpack_from(data), strict=True))
    assert header["magic"] == int.from_bytes(b"MEMTWIN1", "little") and header["version"] == 1
    lines = data[TEXT_AT : TEXT_AT + header["text_length"]].decode().splitlines()
    texts = {k: unquote_to_bytes(v).decode("utf8", "replace") for k, v in (line.split("=", 1) for line in lines)}
    image = Image(path, header, texts)
    pending: list[tuple[int, int, int, int, bytes]] = []
    at = GRAIN
    while at < min(header["used"], len(data)):
        magic, length, sequence, thread, _, _ = CHUNK.unpack_from(data, at)
        if magic != 0x4B4E4843:
            at += GRAIN
            continue
        assert length % GRAIN == 0 and length
        _chunk(image, data[at + CHUNK.size : at + length], sequence, thread, pending)
        at += length
    image.events.sort(key=lambda event: event.number)
    numbers = [event.number for event in image.events]
    assert len(set(numbers)) == len(numbers), "a number was given twice"
    last = b""
    for number, kind, prefix, suffix, piece in sorted(pending):
        last = last[:prefix] + piece + last[len(last) - suffix :]
        image.maps.append((number, kind, last.decode("utf8", "replace")))
    return image


def read_all(directory: Path) -> list[Image]:
    """All images below a directory, in the order in which they began."""
    return sorted((read(path) for path in directory.glob("*.raw")), key=lambda image: image.header["start_ns"])


def _used(path: Path) -> bytes:
    with path.open("rb") as file:
        head = file.read(HEADER.size)
        used: int = HEADER.unpack(head)[3]
        return head + file.read(used - len(head))


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            assert shift <= 70
            return value, at


def _signed(value: int) -> int:
    return (value >> 1) ^ -(value & 1)


def _chunk(
    image: Image, data: bytes, sequence: int, thread: int, pending: list[tuple[int, int, int, int, bytes]]
) -> None:
    at = pointer = error = low = 0
    piece = b""
    while at < len(data) and data[at]:
        op, bits = OPS[data[at] & 63], data[at] & 192
        at += 1
        if op == "TEXT":
            n, at = _varint(data, at)
            piece, at = piece + data[at : at + n], at + n
            continue
        fields: list[int] = []
        if op == "SAMPLE":
            kinds = ["V", "V", "V"] + ["V"] * _peek_mask(data, at).bit_count()
        else:
            kinds = FIELDS[op]
        for kind in kinds:
            value, at = _varint(data, at)
            if kind == "Z":
                value = _signed(value)
            elif kind == "P":
                pointer = (pointer + _signed(value)) & (2**60 - 1)
                value = pointer << 4
            fields.append(value)
        if op == "SKIP":
            sequence += fields[0]
        elif op == "ERROR":
            error = fields[0]
        elif op == "LOW_BITS":
            low = fields[0]
        elif op == "SAMPLE":
            image.samples.append((sequence + fields[0], fields[2], fields[3:]))
        elif op == "OUTCOME":
            image.outcomes.append(fields[0])
        elif op == "BLOCK":
            image.blocks.append((fields[0], fields[1]))
        elif op == "NOTE":
            image.notes.append((fields[0], fields[1]))
        else:
            sequence += 1
            if op == "THREAD_START":
                thread = fields[0]
            if op == "MAPS":
                pending.append((sequence, fields[1], fields[2], fields[3], piece))
                piece = b""
            if low:
                fields[-1 if op == "FREE" else -2] |= low
            image.events.append(Event(sequence, op, thread, fields, bits, error))
            error = low = 0


def _peek_mask(data: bytes, at: int) -> int:
    for _ in range(2):
        _, at = _varint(data, at)
    return _varint(data, at)[0]
