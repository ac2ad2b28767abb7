# SPDX-License-Identifier: LGPL-2.1-or-later
"""The page headers of a Parquet column chunk, read before its decoder allocates by them.

A chunk is a run of pages, each a header in Thrift's compact protocol and then `compressed_page_size` bytes:

    offset                                              offset + total_compressed_size
      | header | dictionary page | header | data page | header | data page |

A decoder reserves `uncompressed_page_size` bytes for a page and fills them from a few hundred bytes of zstd if the
file wants it so. Format: apache/parquet-format, src/main/thrift/parquet.thrift, PageHeader.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

import pyarrow.parquet as pq

from memtwin.trace.thrift import Thrift

_HEADER_BYTES = 64 << 10  # a header holds the least and the greatest value, which may be texts of some KiB


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
    """The sizes in one page header; length: bytes of the header itself. ValueError when the bytes are none."""

    def __init__(self, text: bytes) -> None:
        reader = Thrift(text, "a page header")
        fields = reader.struct()
        self.length = reader.at
        self.uncompressed = _required(fields, 2)
        self.compressed = _required(fields, 3)
        inner = next((fields[number] for number in (5, 7, 8) if isinstance(fields.get(number), dict)), {})
        self.values = _required(inner, 1) if isinstance(inner, dict) else 0


def _required(fields: dict[int, object], number: int) -> int:
    value = fields.get(number)
    if not isinstance(value, int):
        raise ValueError("a page header without its sizes")
    return value
