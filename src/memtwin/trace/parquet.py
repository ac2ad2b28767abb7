# SPDX-License-Identifier: LGPL-2.1-or-later
"""One Parquet file that may be hostile, read batch by batch.

Every number that Parquet's decoder would allocate by is held against what a trace's writer could have written, before
the decoder sees it: the rows of a row group, the sizes of a column chunk, and those of each page (pages.py).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from memtwin.errors import TraceError
from memtwin.trace.footer import check_footer
from memtwin.trace.pages import PageLimits, check_pages

MAX_FILE_BYTES = 64 << 20  # of a file that is read whole
MAX_GROUP_ROWS = 1 << 22  # our own groups have 1 << 20
MAX_TEXT_BYTES = 256 << 20  # of one text column in one group
_FOOTER_LIMIT = 256 << 20
_UNREADABLE = (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError)


def open_plain_file(path: Path) -> int:
    """A descriptor for reading. TraceError when the file is missing, a link, or anything but a plain file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        reason = "a link, which a trace never has" if path.is_symlink() else error.strerror
        raise TraceError(f"{path}: {reason}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise TraceError(f"{path}: no plain file")
    return descriptor


def read_plain_file(path: Path) -> bytes:
    """The bytes of a plain file of at most MAX_FILE_BYTES; TraceError when it is larger or cannot be read."""
    with open(open_plain_file(path), "rb") as file:
        text = file.read(MAX_FILE_BYTES + 1)
    if len(text) > MAX_FILE_BYTES:
        raise TraceError(f"{path}: larger than the {MAX_FILE_BYTES} bytes that it may have")
    return text


class TableFile:
    """A Parquet file of a fixed schema, open only while it is read: a trace may have thousands of them.

    TraceError names the file and what is wrong in it.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.schema = schema

    @property
    def rows(self) -> int:
        """How many rows the footer declares; each row group is checked when it is read."""
        return int(self._footer.num_rows)

    @property
    def metadata(self) -> dict[bytes, bytes]:
        """The file's own key-value metadata."""
        return dict(self._footer.metadata or {})

    @cached_property
    def _footer(self) -> pq.FileMetaData:
        """Read and checked once: every reading of the file goes by it."""
        with self._open() as file:
            with self._told():
                found = file.schema_arrow
            self._check_schema(found)
            with open(open_plain_file(self.path), "rb") as whole:
                check_footer(whole, self.schema, self.path, _FOOTER_LIMIT)
            self._check_rows(file.metadata)
            return file.metadata

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What Arrow finds wrong with the file, as a TraceError."""
        try:
            yield
        except _UNREADABLE as error:
            raise TraceError(f"{self.path}: no Parquet file that can be read: {_one_line(error)}") from None

    def _open(self, footer: pq.FileMetaData | None = None) -> pq.ParquetFile:
        # Opened again through its descriptor: what was checked is what is read.
        with open(open_plain_file(self.path), "rb") as plain, self._told():
            file = pq.ParquetFile(
                f"/proc/self/fd/{plain.fileno()}",
                metadata=footer,
                page_checksum_verification=True,
                thrift_string_size_limit=_FOOTER_LIMIT,
                thrift_container_size_limit=1 << 24,
            )
        return file

    def _check_schema(self, found: pa.Schema) -> None:
        for field in self.schema:
            if field.name not in found.names:
                raise TraceError(f"{self.path}: column {field.name!r} is missing")
            if not found.field(found.get_field_index(field.name)).equals(field):
                raise TraceError(f"{self.path}: column {field.name!r} has type {found.field(field.name).type}, "
                                 f"not {field.type}{'' if field.nullable else ' not null'}")  # fmt: skip
        if not found.equals(self.schema):
            raise TraceError(f"{self.path}: its columns are {', '.join(found.names)[:200]}, not those of a trace")

    def _check_rows(self, metadata: pq.FileMetaData) -> None:
        rows = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
        if any(not 0 <= count <= MAX_GROUP_ROWS for count in rows) or sum(rows) != metadata.num_rows:
            raise TraceError(f"{self.path}: its row groups do not add up to the {metadata.num_rows} rows it declares")

    def batches(self, start: int, rows: int) -> Iterator[pa.RecordBatch]:
        """The rows from number `start` on, in batches of at most `rows` rows."""
        with self._open(self._footer) as file:
            for group in range(file.metadata.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                if start >= count:
                    start -= count
                    continue
                yield from self._group(file, group, start, rows)
                start = 0

    def _group(self, file: pq.ParquetFile, group: int, start: int, rows: int) -> Iterator[pa.RecordBatch]:
        """The rows of one row group from its row `start` on."""
        self._check_group(file.metadata.row_group(group))
        seen = 0
        batches = file.iter_batches(rows, row_groups=[group], use_threads=False)  # a third less processor time
        while True:
            try:
                batch = next(batches, None)
                if batch is not None and seen == 0:
                    batch.validate(full=True)
            except _UNREADABLE as error:
                raise TraceError(f"{self.path}: row group {group} is damaged: {_one_line(error)}") from None
            if batch is None:
                break
            skip = min(max(start - seen, 0), batch.num_rows)
            seen += batch.num_rows
            if skip < batch.num_rows:
                yield batch.slice(skip)
        if seen != file.metadata.row_group(group).num_rows:
            raise TraceError(f"{self.path}: row group {group} is damaged: {seen} rows are not what it declares")

    def _check_group(self, group: pq.RowGroupMetaData) -> None:
        """TraceError when a column chunk of the group, or a page of it, is larger than a trace's can be."""
        with open(open_plain_file(self.path), "rb") as file:
            for index, field in enumerate(self.schema):
                limits = PageLimits(group.num_rows, _chunk_limit(field.type, group.num_rows))
                try:
                    check_pages(file, group.column(index), limits)
                except ValueError as error:
                    raise TraceError(f"{self.path}: column {field.name!r} is damaged: {error}") from None

    def read(self) -> pa.Table:
        """All rows at once."""
        return pa.Table.from_batches(self.batches(0, 1 << 16), schema=self.schema)


def _chunk_limit(kind: pa.DataType, rows: int) -> int:
    """Bytes that a column chunk of `rows` values may have uncompressed: values, dictionary, levels, page headers."""
    if pa.types.is_string(kind):
        return MAX_TEXT_BYTES
    width: int = kind.bit_width // 8
    return rows * (width + 2) + (4 << 20)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
