# SPDX-License-Identifier: LGPL-2.1-or-later
"""The page headers of a Parquet column chunk, read before its decoder allocates by them.

A chunk is a run of pages, each a header in Thrift's compact protocol and then `compressed_page_size` bytes:

    offset                                              offset + total_compressed_size
      | header | dictionary page | header | data page | header | data page |

A decoder reserves `uncompressed_page_size` bytes for a page and fills them from a few hundred bytes of zstd if the
file wants it so. Format: apache/parquet-format, src/main/thrift/parquet.thrift, PageHeader; apache/thrift,
doc/specs/thrift-compact-protocol.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

import pyarrow.parquet as pq

_HEADER_BYTES = 64 << 10  # a header holds the least and the greatest value, which may be texts of some KiB
_MAX_DEPTH = 8

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_FIXED = {_TRUE: 0, _FALSE: 0, _BYTE: 1, _DOUBLE: 8}


@dataclass(frozen=True, slots=True)
class PageLimits:
    """What a column chunk may have: values, and bytes when it is uncompressed."""

    rows: int
    uncompressed_bytes: int


def check_pages(file: BinaryIO, chunk: pq.ColumnChunkMetaData, limits: PageLimits) -> None:
    """ValueError says in a few words why a chunk is one that no trace has; nothing when its pages are in order."""
    offset = chunk.data_page_offset
    if chunk.has_dictionary_page and chunk.dictionary_page_offset is not None:
        offset = min(offset, chunk.dictionary_page_offset)
    end = offset + chunk.total_compressed_size
    if offset < 4 or chunk.total_compressed_size < 0 or end > file.seek(0, 2):
        raise ValueError("it lies outside the file")
    if chunk.num_values != limits.rows:
        raise ValueError(f"{chunk.num_values} values for {limits.rows} rows")
    uncompressed = 0
    while offset < end:
        file.seek(offset)
        header = PageHeader(file.read(min(_HEADER_BYTES, end - offset)))
        if header.compressed < 0 or header.uncompressed < 0:
            raise ValueError("a page of negative size")
        uncompressed += header.uncompressed
        if uncompressed > limits.uncompressed_bytes:
            raise ValueError(f"its pages unpack to more than {limits.uncompressed_bytes} bytes")
        if not 0 <= header.values <= limits.rows:
            raise ValueError(f"a page of {header.values} values for {limits.rows} rows")
        offset += header.length + header.compressed
    if offset != end:
        raise ValueError("its last page is cut short")


class PageHeader:
    """The sizes in one page header. ValueError when the bytes are none."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self.length = 0  # bytes of the header itself, as far as it has been read
        fields = self._struct(0)
        self.uncompressed = self._required(fields, 2)
        self.compressed = self._required(fields, 3)
        inner = next((fields[number] for number in (5, 7, 8) if isinstance(fields.get(number), dict)), {})
        self.values = self._required(inner, 1) if isinstance(inner, dict) else 0

    @staticmethod
    def _required(fields: dict[int, object], number: int) -> int:
        value = fields.get(number)
        if not isinstance(value, int):
            raise ValueError("a page header without its sizes")
        return value

    def _byte(self) -> int:
        if self.length >= len(self._text):
            raise ValueError("a page header is cut short")
        self.length += 1
        return self._text[self.length - 1]

    def _varint(self) -> int:
        value = shift = 0
        while shift < 70:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
        raise ValueError("a page header holds a number of more than 64 bits")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _skip(self, count: int) -> None:
        if count > len(self._text) - self.length:
            raise ValueError("a page header is cut short")
        self.length += count

    def _struct(self, depth: int) -> dict[int, object]:
        fields: dict[int, object] = {}
        number = 0
        while byte := self._byte():
            number = number + (byte >> 4) if byte >> 4 else self._zigzag()
            fields[number] = self._value(byte & 15, depth + 1)
        return fields

    def _value(self, kind: int, depth: int) -> object:
        """One value of this type: numbers and structs are returned, of the rest only the length matters."""
        if depth > _MAX_DEPTH:
            raise ValueError("a page header nests too deep")
        if kind in (_I16, _I32, _I64):
            return self._zigzag()
        if kind == _STRUCT:
            return self._struct(depth)
        if kind == _BINARY:
            self._skip(self._varint())
        elif kind in _FIXED:
            self._skip(_FIXED[kind])
        else:  # the format has no lists or maps in it
            raise ValueError(f"a page header holds a value of type {kind}")
        return None
