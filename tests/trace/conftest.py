# SPDX-License-Identifier: LGPL-2.1-or-later
"""Small traces for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from memtwin.trace.header import Header
from memtwin.trace.schema import EVENTS, MAPS, SAMPLES, Op
from memtwin.trace.writer import ImageWriter, prepare_directory, write_process_tree


def random_events(rows: int, seed: int = 1) -> pa.RecordBatch:
    """`rows` events with every column full of values; the same seed gives the same rows."""
    random = np.random.default_rng(seed)
    columns = []
    for field in EVENTS:
        kind = field.type.to_pandas_dtype()
        columns.append(random.integers(0, np.iinfo(kind).max, rows, dtype=kind, endpoint=True))
    columns[0] = random.choice([int(op) for op in Op], rows).astype(np.uint8)
    return pa.record_batch(columns, schema=EVENTS)


def some_samples() -> pa.RecordBatch:
    rows = [
        {"event": 0, "time_ns": 0, "rss_bytes": 4096},
        {"event": 7, "time_ns": 10**7, "rss_bytes": 8192, "heap_bytes": 135168, "heap_resident_bytes": 4096},
    ]
    return pa.RecordBatch.from_pylist(rows, schema=SAMPLES)


def some_maps() -> pa.RecordBatch:
    line = {"permissions": "rw-p", "offset": 0, "device": "00:00", "inode": 0, "path": "[heap]", "time_ns": 0}
    rows = [
        {"snapshot": 0, "event": 0, "start": 0x1000, "end": 0x3000, **line},
        {"snapshot": 0, "event": 0, "start": 0x5000, "end": 0x6000, **line},
        {"snapshot": 1, "event": 5, "start": 0x1000, "end": 0x4000, "rss_bytes": 8192, **line},
    ]
    return pa.RecordBatch.from_pylist(rows, schema=MAPS)


@pytest.fixture
def make_trace(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a trace of a parent, its child and what the child exec'ed; the directory."""

    def make(rows: int = 1000, complete: bool = True) -> Path:
        directory = tmp_path / "trace"
        prepare_directory(directory)
        headers = [
            Header("7", 7, 1, command=("make",), glibc="2.36", events=rows),
            Header("9", 9, 7, "fork", "7", 5, command=("make",), events=rows),
            Header("9.1", 9, 7, "exec", "9", 8, command=("cc", "-c", "\udcff.c"), events=rows),
        ]
        for seed, header in enumerate(headers):
            image = ImageWriter(directory, header.key)
            image.write_events(random_events(rows, seed))
            image.write_samples(some_samples())
            image.write_maps(some_maps())
            image.close(header)
        write_process_tree(directory, ("make",), headers[::-1], complete)
        return directory

    return make
