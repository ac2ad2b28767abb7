# SPDX-License-Identifier: LGPL-2.1-or-later
"""The footer of a Parquet file, looked at before Arrow does: what would end the interpreter instead of raising.

Arrow throws a C++ exception where a column chunk has histograms of levels of another length than its column has levels,
and pyarrow does not translate it where one chunk's metadata is asked for. Format: apache/parquet-format,
src/main/thrift/parquet.thrift, FileMetaData; the last eight bytes of a file are the footer's length and "PAR1".
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from memtwin.errors import TraceError
from memtwin.trace.thrift import Thrift

_ROW_GROUPS, _COLUMNS, _CHUNK, _SIZES, _REPETITIONS, _DEFINITIONS = 4, 1, 3, 16, 2, 3  # numbers of fields


def check_footer(file: BinaryIO, schema: pa.Schema, path: Path, most: int) -> None:
    """TraceError: a chunk's histograms do not fit the schema, or the footer, of at most `most` bytes, is damaged."""
    size = file.seek(0, 2)
    file.seek(max(size - 8, 0))
    length = int.from_bytes(file.read(8)[:4], "little")
    if length > min(size - 8, most):
        return  # no footer that Arrow would read
    file.seek(size - 8 - length)
    try:
        footer: Any = Thrift(file.read(length), "the footer").struct()
        chunks = [chunk for group in footer.get(_ROW_GROUPS) or () for chunk in enumerate(group.get(_COLUMNS) or ())]
        for column, chunk in chunks:
            sizes = (chunk.get(_CHUNK) or {}).get(_SIZES) or {}
            levels = 2 if column < len(schema) and schema.field(column).nullable else 1
            if len(sizes.get(_REPETITIONS) or ()) > 1 or len(sizes.get(_DEFINITIONS) or ()) not in (0, levels):
                raise ValueError("a histogram of levels that its column does not have")
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise TraceError(f"{path}: no Parquet file that can be read: its footer is damaged ({error})") from None
