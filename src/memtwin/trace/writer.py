# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes a trace's directory, so that whatever interrupts it leaves a readable trace or one that says it is cut short.

Each file is written as NAME.part and gets its name when it is whole. `trace.json` comes last: a directory without it is
an import that was cut short, and the reader says so.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from memtwin.errors import UserError
from memtwin.trace.header import Header
from memtwin.trace.schema import (
    BLOCKS,
    EVENTS,
    FORMAT_VERSION,
    MAPS,
    METADATA_KEY,
    PROCESS_TREE,
    RAW_DIRECTORY,
    SAMPLES,
    check_key,
)

ROW_GROUP = 1 << 20

# Measured on random events and on programs. A dictionary of addresses or of operations takes more time than all else
# together; so each byte of the numbers goes to a stream of its own, in which most bytes repeat. Against zstd, LZ4 takes
# half to two thirds of the time to write and half the time to read, for 1.6 times the bytes.
_SPLIT = "BYTE_STREAM_SPLIT"
_EVENT_ENCODING = {field.name: _SPLIT for field in EVENTS}


def _open(path: Path, schema: pa.Schema, encoding: dict[str, str] | None) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        path,
        schema,
        compression="lz4" if encoding else "zstd",
        compression_level=None if encoding else 1,
        use_dictionary=encoding is None,
        column_encoding=encoding,
        write_statistics=encoding is None,
        write_page_checksum=True,
        store_schema=False,
    )


class _Part:
    """One Parquet file under its temporary name until `close`."""

    def __init__(self, directory: Path, name: str, schema: pa.Schema, encoding: dict[str, str] | None = None) -> None:
        self.path = directory / name
        self.part = directory / (name + ".part")
        self.rows = 0
        self.writer = _open(self.part, schema, encoding)

    def write(self, batch: pa.RecordBatch) -> None:
        self.writer.write_batch(batch, row_group_size=ROW_GROUP)
        self.rows += batch.num_rows

    def close(self) -> None:
        self.writer.close()
        self.part.replace(self.path)

    def discard(self) -> None:
        self.writer.close()
        self.part.unlink(missing_ok=True)


class ImageWriter:
    """The four files of one process image. Batches are written as they come; `close` gives the files their names."""

    def __init__(self, directory: Path, key: str) -> None:
        self.key = check_key(key, str(directory))
        self._events = _Part(directory, f"{key}.events.parquet", EVENTS, _EVENT_ENCODING)
        self._samples = _Part(directory, f"{key}.samples.parquet", SAMPLES)
        self._maps = _Part(directory, f"{key}.maps.parquet", MAPS)
        self._blocks = _Part(directory, f"{key}.blocks.parquet", BLOCKS)

    @property
    def events(self) -> int:
        """How many events are written so far."""
        return self._events.rows

    def write_events(self, batch: pa.RecordBatch) -> None:
        """Append rows of schema EVENTS."""
        self._events.write(batch)

    def write_samples(self, batch: pa.RecordBatch) -> None:
        """Append rows of schema SAMPLES."""
        self._samples.write(batch)

    def write_maps(self, batch: pa.RecordBatch) -> None:
        """Append rows of schema MAPS."""
        self._maps.write(batch)

    def write_blocks(self, batch: pa.RecordBatch) -> None:
        """Append rows of schema BLOCKS."""
        self._blocks.write(batch)

    def close(self, header: Header) -> None:
        """Add the header facts and give the files their names; the events last, since a reader looks for them."""
        text = header.to_json()
        self._events.writer.add_key_value_metadata({METADATA_KEY.decode(): text})
        for part in (self._samples, self._maps, self._blocks, self._events):
            part.close()

    def discard(self) -> None:
        """Forget the image: nothing of it stays in the directory."""
        for part in (self._samples, self._maps, self._blocks, self._events):
            part.discard()


def prepare_directory(directory: Path) -> None:
    """Make `directory` ready to take a new trace: created when it is missing, emptied when it holds a trace.

    UserError when it is no directory, or holds anything that is not a trace's.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        names = sorted(entry.name for entry in os.scandir(directory))
    except OSError as error:
        raise UserError(f"{directory}: {error.strerror}; name a directory that can be written with -o") from None
    foreign = [name for name in names if not _is_ours(name)]
    if foreign or (names and PROCESS_TREE not in names and RAW_DIRECTORY not in names):
        raise UserError(
            f"{directory} is neither empty nor a trace (it holds {(foreign or names)[0]!r}): name another with -o"
        )
    for name in names:
        _remove(directory / name)


def _is_ours(name: str) -> bool:
    return name in (PROCESS_TREE, PROCESS_TREE + ".part", RAW_DIRECTORY) or name.removesuffix(".part").endswith(
        (".events.parquet", ".samples.parquet", ".maps.parquet", ".blocks.parquet")
    )


def _remove(path: Path) -> None:
    """Delete a file, or the raw directory."""
    if path.is_dir() and not path.is_symlink():
        remove_raw_directory(path)
    else:
        path.unlink()


def remove_raw_directory(path: Path) -> None:
    """Delete the raw directory and the plain files in it."""
    for inner in path.iterdir():
        inner.unlink()
    path.rmdir()


def write_process_tree(directory: Path, command: Sequence[str], headers: Sequence[Header], complete: bool) -> None:
    """Write `trace.json`: what was run, and one entry an image, each after the image it came from.

    complete: every event that was recorded is in the trace; False when its import was interrupted.
    """
    value: dict[str, Any] = {
        "version": FORMAT_VERSION,
        "command": list(command),
        "complete": complete,
        "processes": [_entry(header) for header in in_tree_order(headers)],
    }
    part = directory / (PROCESS_TREE + ".part")
    part.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    part.replace(directory / PROCESS_TREE)


def _entry(header: Header) -> dict[str, Any]:
    return {
        "key": header.key,
        "pid": header.pid,
        "origin": header.origin,
        "parent": header.parent,
        "parent_event": header.parent_event,
        "command": list(header.command),
        "events": header.events,
    }


def in_tree_order(headers: Sequence[Header]) -> list[Header]:
    """The headers, each after the one it came from, children in the order of the events that made them."""
    children: dict[str | None, list[Header]] = {}
    keys = {header.key for header in headers}
    for header in sorted(headers, key=lambda one: (one.parent_event, one.pid, one.key)):
        children.setdefault(header.parent if header.parent in keys else None, []).append(header)
    ordered, waiting = [], list(reversed(children.get(None, [])))
    while waiting:
        header = waiting.pop()
        ordered.append(header)
        waiting.extend(reversed(children.get(header.key, [])))
    return ordered
