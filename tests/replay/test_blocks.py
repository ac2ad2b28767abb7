# SPDX-License-Identifier: LGPL-2.1-or-later
"""Blocks that malloc maps one by one are as resident in the twin as they were in the program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.host.watch import need_recorder
from tests.replay.conftest import Recorder

from memtwin.replay.replay import Options, replay
from memtwin.trace.reader import BLOCKS, TraceError, open_trace
from memtwin.trace.schema import Op

MIB = 1 << 20
PAGE = 4096


@pytest.fixture
def sparse(recorded: Recorder, programs: Path) -> Path:
    need_recorder()
    return recorded(programs / "sparse").directory


def test_what_was_measured_is_in_the_trace(sparse: Path) -> None:
    (image,) = open_trace(sparse).processes
    (columns,) = image.batches()
    seen = dict(zip(*(image.blocks()[name].to_pylist() for name in BLOCKS.names), strict=True))
    mapped = {
        int(columns.size[i]) * max(int(columns.argument[i]) if columns.op[i] == Op.CALLOC else 1, 1): seen.get(i)
        for i in range(len(columns))
        if columns.flags[i] & 2 and columns.op[i] != Op.FREE and columns.size[i] >= 32
    }
    filled = {64: 5, 200: 0, 32: 7, 40: 30, 20: 1, 10: 2, 50: 11, 3: 3}
    for size, written in filled.items():
        assert 0 <= mapped[size * MIB] - written * MIB <= 2 * PAGE, size


def test_the_twin_is_as_resident_as_the_program(sparse: Path) -> None:
    (result,) = replay(open_trace(sparse), Options()).processes
    assert result.exact and result.compared > 20
    assert result.final is not None
    last = result.samples[-1]
    assert abs(last.heap_twin_bytes - last.heap_bytes) <= 4 * PAGE
    assert abs(last.mapped_twin_bytes - last.mapped_bytes) <= 8 * PAGE
    assert 27 * MIB < last.mapped_twin_bytes < 28 * MIB
    assert 40 * MIB < result.peak_rss_bytes < 60 * MIB  # when `gone` lived


def test_another_setting_leaves_them_as_full(sparse: Path) -> None:
    real = replay(open_trace(sparse), Options())
    (result,) = replay(open_trace(sparse), Options({"mmap_threshold": 1 << 30, "mmap_max": 0}), real).processes
    assert result.final_rss_bytes < 70 * MIB  # in the heap, where the hole that `gone` leaves stays


def test_a_trace_without_them_is_replayed(sparse: Path, tmp_path: Path) -> None:
    for path in sparse.iterdir():
        if path.is_file() and "blocks" not in path.name:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (result,) = replay(open_trace(tmp_path), Options()).processes
    assert result.exact and result.peak_rss_bytes > 300 * MIB  # what nobody looked at counts as filled


def test_blocks_out_of_order_are_refused(sparse: Path, tmp_path: Path) -> None:
    for path in sparse.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (path,) = tmp_path.glob("*.blocks.parquet")
    table = pq.read_table(path)
    pq.write_table(table.take(np.arange(table.num_rows)[::-1]), path)
    with pytest.raises(TraceError, match="order of their events"):
        replay(open_trace(tmp_path), Options())
