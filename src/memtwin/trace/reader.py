# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads a trace: `open_trace(directory)`.

A trace may come from anybody. Whatever is wrong with a file, the reader raises TraceError with the file's name and
the reason; it never follows a link, never opens what is no plain file, and never allocates by a number it has not
checked against the size of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from memtwin.errors import TraceError
from memtwin.trace.header import Header, check_version, load_json, parse_header
from memtwin.trace.parquet import TableFile, read_plain_file
from memtwin.trace.schema import BLOCKS, EVENTS, MAPS, METADATA_KEY, PROCESS_TREE, RAW_DIRECTORY, SAMPLES, Op, check_key

BATCH_ROWS = 1 << 18
_KNOWN = np.isin(np.arange(256), list(Op))  # by number of the operation
MOST_BYTES = 1 << 57  # of an address space, with five levels of page tables


@dataclass(frozen=True, slots=True)
class Columns:
    """Events `start` … `start + len - 1` of one image as arrays of equal length; see schema.py for their meaning."""

    start: int
    op: npt.NDArray[np.uint8]
    flags: npt.NDArray[np.uint8]
    error: npt.NDArray[np.uint8]
    thread: npt.NDArray[np.uint32]
    size: npt.NDArray[np.uint64]
    pointer: npt.NDArray[np.uint64]
    argument: npt.NDArray[np.uint64]
    extra: npt.NDArray[np.uint64]
    result: npt.NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.op)


@dataclass(frozen=True, slots=True)
class Vma:
    """One line of /proc/PID/maps."""

    start: int
    end: int
    permissions: str
    offset: int
    device: str
    inode: int
    path: str
    rss_bytes: int | None  # None when the snapshot is of maps only


@dataclass(frozen=True, slots=True)
class MapsSnapshot:
    """The VMAs of an image as they were before event `event`, by address, none over another."""

    number: int
    event: int
    time_ns: int
    vmas: tuple[Vma, ...]


@dataclass(frozen=True)
class ProcessImage:
    """What one process ran between two execs: its place in the tree, and its events."""

    directory: Path
    key: str
    pid: int
    parent: ProcessImage | None = field(repr=False)
    origin: str  # "start", "fork" or "exec"
    parent_event: int  # number of the FORK or EXEC event in the parent
    command: tuple[str, ...]
    events: int
    children: list[ProcessImage] = field(default_factory=list, repr=False)

    @cached_property
    def header(self) -> Header:
        """The header facts. TraceError when the events file does not belong to this image."""
        header = self._parse_header()
        if (header.key, header.pid, header.events) != (self.key, self.pid, self.events):
            raise TraceError(f"{self._events.path}: does not belong to image {self.key} of this trace")
        return header

    def _parse_header(self) -> Header:
        text = self._events.metadata.get(METADATA_KEY)
        if text is None:
            raise TraceError(f"{self._events.path}: its metadata has no 'memtwin' header")
        header = parse_header(text, str(self._events.path))
        if header.events != self._events.rows:
            raise TraceError(f"{self._events.path}: {self._events.rows} rows, but its header says {header.events}")
        return header

    def record_batches(self, start: int = 0, rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """The events from number `start` on, as batches of schema EVENTS with at most `rows` rows."""
        return self._events.batches(start, rows)

    def batches(self, start: int = 0, rows: int = BATCH_ROWS) -> Iterator[Columns]:
        """The events from number `start` on, as numpy columns that share the memory Parquet was decoded into.

        TraceError: an event that is no operation of schema.Op.
        """
        for batch in _ahead(self.record_batches(start, rows)):
            columns = Columns(start, *map(_view, batch.columns))
            if not _KNOWN[columns.op].all():
                row = int(np.argmin(_KNOWN[columns.op]))
                raise TraceError(f"{self._events.path}: event {start + row}: {columns.op[row]} is no operation")
            yield columns
            start += batch.num_rows

    def samples(self) -> pa.Table:
        """All samples, schema SAMPLES. TraceError: one with more bytes than an address space has."""
        return _sane(self._samples.read(), self._samples.path)

    def blocks(self) -> pa.Table:
        """How much of mapped blocks was in RAM, schema BLOCKS; no rows in a trace that was made without.

        TraceError: one of more bytes than an address space has, or out of the order of events.
        """
        if not (self.directory / f"{self.key}.blocks.parquet").exists():
            return BLOCKS.empty_table()
        blocks = _sane(self._blocks.read(), self._blocks.path)
        events = blocks["event"].to_numpy()
        if not (events[:-1] < events[1:]).all():
            raise TraceError(f"{self._blocks.path}: the blocks do not stand in the order of their events")
        return blocks

    def maps(self) -> pa.Table:
        """All snapshots of the VMAs in one table, schema MAPS."""
        return self._maps.read()

    def snapshots(self) -> Iterator[MapsSnapshot]:
        """The snapshots of the VMAs one after the other, in the order of their events."""
        rows: list[dict[str, Any]] = []
        for batch in self._maps.batches(0, 4096):
            for row in batch.to_pylist():
                if rows and row["snapshot"] != rows[0]["snapshot"]:
                    yield _snapshot(rows, self._maps.path)
                    rows = []
                rows.append(row)
        if rows:
            yield _snapshot(rows, self._maps.path)

    @cached_property
    def _events(self) -> TableFile:
        return self._table("events", EVENTS)

    @cached_property
    def _samples(self) -> TableFile:
        return self._table("samples", SAMPLES)

    @cached_property
    def _blocks(self) -> TableFile:
        return self._table("blocks", BLOCKS)

    @cached_property
    def _maps(self) -> TableFile:
        return self._table("maps", MAPS)

    def _table(self, name: str, schema: pa.Schema) -> TableFile:
        return TableFile(self.directory / f"{self.key}.{name}.parquet", schema)


def _view(column: pa.Array) -> npt.NDArray[Any]:
    """The column's own memory. Its `to_numpy` would do, but imports pandas where that is installed: half a second."""
    kind = np.dtype(column.type.to_pandas_dtype())
    return np.frombuffer(column.buffers()[1], kind, len(column), column.offset * kind.itemsize)


def _ahead(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same batches; while one is worked on, the next is decoded in another thread."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            yield batch


_OF_VMA = ("start", "end", "permissions", "offset", "device", "inode", "path", "rss_bytes")


def _sane(table: pa.Table, path: Path) -> pa.Table:
    """A table whose figures of bytes can be; else TraceError."""
    for name in table.column_names:
        most = (pc.max(table[name]).as_py() or 0) if name.endswith("_bytes") else 0
        if most > MOST_BYTES:
            raise TraceError(f"{path}: {name} is {most}, more than an address space has")
    return table


def _snapshot(rows: list[dict[str, Any]], path: Path) -> MapsSnapshot:
    number, event, time_ns = (rows[0][name] for name in ("snapshot", "event", "time_ns"))
    vmas: list[Vma] = []
    for row in rows:
        start, end, permissions, offset, device, inode, name, rss = (row[column] for column in _OF_VMA)
        if not start < end or (end > MOST_BYTES and name != "[vsyscall]"):
            raise TraceError(f"{path}: snapshot {number}: no mapping can lie at {start:#x}-{end:#x}")
        # The kernel writes maps piece by piece: what another thread maps meanwhile may stand there twice.
        start = max(start, vmas[-1].end if vmas else 0)
        if start < end:
            rss = None if rss is None else min(rss, end - start)
            vmas.append(Vma(start, end, permissions, offset, device, inode, name, rss))
    return MapsSnapshot(number, event, time_ns, tuple(vmas))


@dataclass(frozen=True)
class Trace:
    """A recording of one program and its descendants."""

    directory: Path
    command: tuple[str, ...]  # what was run
    complete: bool  # False when the import of what was recorded was interrupted
    processes: tuple[ProcessImage, ...]  # every image, each after the one it came from

    @property
    def roots(self) -> tuple[ProcessImage, ...]:
        """The images whose parent is not in the trace: normally one."""
        return tuple(image for image in self.processes if image.parent is None)

    def image(self, key: str) -> ProcessImage:
        """The image with this key. TraceError names the keys there are when it is none of them."""
        for image in self.processes:
            if image.key == key:
                return image
        some = ", ".join(image.key for image in self.processes[:8])
        raise TraceError(f"{self.directory}: no image {key!r:.40} in this trace; it has {some}")


def open_trace(directory: Path | str) -> Trace:
    """The trace in `directory`. Reads the process tree only; events and headers are opened when they are asked for.

    TraceError when the directory is none, was not fully written, or its process tree cannot be read.
    """
    directory = Path(directory)
    path = directory / PROCESS_TREE
    _check_directory(directory, path)
    value = load_json(read_plain_file(path), str(path))
    check_version(value, str(path))
    images: dict[str, ProcessImage] = {}
    for entry in _typed(value, "processes", list, path):
        image = _image(directory, entry, images, path)
        if image.key in images:
            raise TraceError(f"{path}: image {image.key} stands there twice")
        images[image.key] = image
        if image.parent:
            image.parent.children.append(image)
    command = _texts(value, "command", path)
    return Trace(directory, command, _typed(value, "complete", bool, path), tuple(images.values()))


def _check_directory(directory: Path, tree: Path) -> None:
    if not directory.is_dir():
        raise TraceError(f"{directory}: no such directory; a trace is the directory that `memtwin record -o` names")
    if tree.exists() or tree.is_symlink():
        return
    if (directory / RAW_DIRECTORY).is_dir():
        raise TraceError(f"{directory}: its import was cut short; `memtwin trace {directory}` finishes it")
    raise TraceError(f"{directory}: no trace, it has no {PROCESS_TREE}")


def _image(directory: Path, entry: Any, images: dict[str, ProcessImage], path: Path) -> ProcessImage:
    if not isinstance(entry, dict):
        raise TraceError(f"{path}: an entry of 'processes' is no object")
    key = check_key(_typed(entry, "key", str, path), str(path))
    parent = entry.get("parent")
    if parent is not None and (not isinstance(parent, str) or parent not in images):
        raise TraceError(f"{path}: image {key} comes from {parent!r:.40}, which does not stand before it")
    return ProcessImage(
        directory=directory,
        key=key,
        pid=_count(entry, "pid", path),
        parent=images[parent] if parent is not None else None,
        origin=_typed(entry, "origin", str, path),
        parent_event=_count(entry, "parent_event", path),
        command=_texts(entry, "command", path),
        events=_count(entry, "events", path),
    )


def _typed(value: dict[str, Any], name: str, kind: type, path: Path) -> Any:
    found = value.get(name)
    if type(found) is not kind:
        raise TraceError(f"{path}: {name!r} is {found!r:.40}, not of type {kind.__name__}")
    return found


def _count(value: dict[str, Any], name: str, path: Path) -> int:
    number: int = _typed(value, name, int, path)
    if not 0 <= number < 1 << 64:
        raise TraceError(f"{path}: {name!r} is {number!s:.40}, which does not fit 64 bits")
    return number


def _texts(value: dict[str, Any], name: str, path: Path) -> tuple[str, ...]:
    texts = _typed(value, name, list, path)
    if not all(isinstance(text, str) for text in texts):
        raise TraceError(f"{path}: {name!r} holds something that is no text")
    return tuple(texts)
