# SPDX-License-Identifier: LGPL-2.1-or-later
"""What was written is read back, by us and by the tools that people use; whatever is wrong with a file is said."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.trace.conftest import random_events

from memtwin.errors import TraceError
from memtwin.trace import reader
from memtwin.trace.schema import EVENTS

Make = Callable[..., Path]


def test_the_tree_comes_back_each_image_after_its_parent(make_trace: Make) -> None:
    trace = reader.open_trace(make_trace())
    assert [image.key for image in trace.processes] == ["7", "9", "9.1"]
    assert [image.parent and image.parent.key for image in trace.processes] == [None, "7", "9"]
    assert [image.key for image in trace.roots] == ["7"]
    assert trace.image("9").children == [trace.image("9.1")]
    assert trace.image("9.1").command == ("cc", "-c", "\udcff.c")
    assert trace.image("7").header.glibc == "2.36"


@pytest.mark.parametrize("start", [0, 1, 999, 5000, 5001])
def test_events_come_back_from_any_start(make_trace: Make, start: int) -> None:
    image = reader.open_trace(make_trace(5000)).image("9")
    parts = list(image.batches(start, rows=700))
    assert [part.start for part in parts] == list(range(start, 5000, 700))[: len(parts)] or start % 700
    truth = random_events(5000, seed=1)
    for name in EVENTS.names:
        found = [getattr(part, name) for part in parts]
        whole = np.concatenate(found) if found else np.array([], dtype=truth.column(name).to_numpy().dtype)
        np.testing.assert_array_equal(whole, truth.column(name).to_numpy()[start:])


def test_columns_share_parquets_memory(make_trace: Make) -> None:
    (batch,) = reader.open_trace(make_trace()).image("7").record_batches()
    (columns,) = reader.open_trace(make_trace()).image("7").batches()
    assert np.shares_memory(batch.column("result").to_numpy(), batch.column("result").to_numpy())
    assert not columns.result.flags.owndata


def test_snapshots_and_samples(make_trace: Make) -> None:
    image = reader.open_trace(make_trace()).image("7")
    first, second = image.snapshots()
    assert (first.number, first.event, [vma.start for vma in first.vmas]) == (0, 0, [0x1000, 0x5000])
    assert (second.event, second.vmas[0].path, second.vmas[0].rss_bytes) == (5, "[heap]", 8192)
    assert first.vmas[0].rss_bytes is None
    assert image.samples().column("heap_resident_bytes").to_pylist() == [None, 4096]
    assert image.maps().num_rows == 3


def test_pandas_reads_it_as_it_is(make_trace: Make) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.read_parquet(make_trace() / "7.events.parquet")
    np.testing.assert_array_equal(frame["result"], random_events(1000, 0).column("result").to_numpy())
    assert [str(kind) for kind in frame.dtypes] == [str(field.type) for field in EVENTS]


def test_polars_reads_it_as_it_is(make_trace: Make) -> None:
    polars = pytest.importorskip("polars", reason="polars is not installed")
    frame = polars.read_parquet(make_trace() / "7.events.parquet")
    np.testing.assert_array_equal(frame["result"].to_numpy(), random_events(1000, 0).column("result").to_numpy())


def test_duckdb_reads_it_as_it_is(make_trace: Make) -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    path = make_trace() / "7.events.parquet"
    found = duckdb.sql(f"select op, sum(size) from '{path}' group by op order by op").fetchall()
    events = random_events(1000, 0)
    op, size = events.column("op").to_numpy(), events.column("size").to_pylist()
    assert found == [(kind, sum(n for n, o in zip(size, op, strict=True) if o == kind)) for kind in np.unique(op)]


# ---- what is wrong with a trace is said in one line -----------------------------------------------------------------


def read_everything(directory: Path) -> None:
    for image in reader.open_trace(directory).processes:
        assert image.header.pid == image.pid
        for batch in image.batches():
            assert len(batch) == len(batch.result)
        image.samples()
        list(image.snapshots())


def refused(directory: Path) -> str:
    """The one line with which the trace is refused."""
    with pytest.raises(TraceError) as stop:
        read_everything(directory)
    line = str(stop.value)
    assert str(directory) in line and "\n" not in line and len(line) < 600
    return line


def edit_tree(directory: Path, **changes: object) -> None:
    path = directory / "trace.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_no_directory(tmp_path: Path) -> None:
    assert "no such directory" in refused(tmp_path / "nothing")
    assert "no trace" in refused(tmp_path)


def test_an_import_that_was_cut_short(make_trace: Make) -> None:
    directory = make_trace()
    (directory / "trace.json").unlink()
    (directory / "raw").mkdir()
    assert "cut short" in refused(directory)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"9" * 10_000, b"NaN", b"null"],
    ids=["empty", "cut", "list", "deep list", "deep object", "no text", "long number", "NaN", "null"],
)
def test_a_tree_that_is_no_json_object(make_trace: Make, text: bytes) -> None:
    directory = make_trace()
    (directory / "trace.json").write_bytes(text)
    assert "trace.json" in refused(directory)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": 2}, "format 2"),
        ({"version": True}, "format True"),
        ({"processes": {}}, "'processes'"),
        ({"processes": [1]}, "no object"),
        ({"processes": [{"key": "../7"}]}, "no key"),
        ({"processes": [{"key": "7", "parent": "8"}]}, "does not stand before"),
        ({"processes": [{"key": "7", "pid": -1}]}, "64 bits"),
        ({"processes": [{"key": "7", "pid": "7"}]}, "'pid'"),
        ({"command": [1]}, "no text"),
        ({"complete": None}, "'complete'"),
    ],
)
def test_a_tree_with_wrong_values(make_trace: Make, changes: dict[str, object], words: str) -> None:
    directory = make_trace()
    edit_tree(directory, **changes)
    assert words in refused(directory)


def test_an_image_that_stands_twice(make_trace: Make) -> None:
    directory = make_trace()
    entry = json.loads((directory / "trace.json").read_text())["processes"][0]
    edit_tree(directory, processes=[entry, entry])
    assert "twice" in refused(directory)


def test_files_that_are_no_plain_files(make_trace: Make, tmp_path: Path) -> None:
    directory = make_trace()
    path = directory / "9.events.parquet"
    path.rename(tmp_path / "elsewhere")
    assert "No such file" in refused(directory)
    path.symlink_to(tmp_path / "elsewhere")
    assert "a link" in refused(directory)
    path.unlink()
    os.mkfifo(path)
    assert "no plain file" in refused(directory)
    path.unlink()
    path.mkdir()
    assert "no plain file" in refused(directory)


@pytest.mark.parametrize("keep", [0, 3, 100, -1, -8, -100])
def test_a_file_that_is_cut_short(make_trace: Make, keep: int) -> None:
    directory = make_trace()
    path = directory / "7.events.parquet"
    path.write_bytes(path.read_bytes()[:keep])
    assert "7.events.parquet" in refused(directory)


def rewrite(path: Path, table: pa.Table, **settings: object) -> None:
    kept = pq.ParquetFile(path).metadata.metadata or {}
    rows = settings.pop("row_group_size", None)
    with pq.ParquetWriter(path, table.schema, store_schema=False, **settings) as writer:
        writer.write_table(table, rows)
        writer.add_key_value_metadata(kept)


def test_columns_of_another_table(make_trace: Make) -> None:
    directory = make_trace()
    path = directory / "7.events.parquet"
    table = pq.read_table(path)
    rewrite(path, table.drop_columns(["size"]))
    assert "'size' is missing" in refused(directory)
    rewrite(path, table.set_column(4, "size", table.column("size").cast(pa.float64(), safe=False)))
    assert "'size' has type double" in refused(directory)
    rewrite(path, table.append_column("more", table.column("size")))
    assert "not those of a trace" in refused(directory)


def test_a_header_that_is_missing_or_of_another_image(make_trace: Make) -> None:
    directory = make_trace()
    path = directory / "7.events.parquet"
    table = pq.read_table(path)
    pq.write_table(table, path, store_schema=False)
    assert "no 'memtwin' header" in refused(directory)
    path.write_bytes((directory / "9.events.parquet").read_bytes())
    assert "does not belong" in refused(directory)


def test_rows_that_are_not_what_the_header_says(make_trace: Make) -> None:
    directory = make_trace()
    path = directory / "7.events.parquet"
    rewrite(path, pq.read_table(path).slice(1))
    assert "999 rows, but its header says 1000" in refused(directory)


def test_a_bomb_is_refused_before_it_is_unpacked(make_trace: Make) -> None:
    """300 MiB of text in 30 KiB of zstd: refused by the sizes in the page headers."""
    directory = make_trace()
    path = directory / "7.maps.parquet"
    table = pq.read_table(path)
    paths = pa.array(["x" * (100 << 20)] * 3)
    bomb = table.set_column(table.column_names.index("path"), table.schema.field("path"), paths)
    rewrite(path, bomb, compression="zstd", use_dictionary=False, write_statistics=False)
    assert path.stat().st_size < 100_000
    before = pa.default_memory_pool().max_memory()
    assert "unpack to more" in refused(directory)
    assert pa.default_memory_pool().max_memory() == before


def test_a_row_group_larger_than_ours(make_trace: Make) -> None:
    directory = make_trace()
    path = directory / "7.events.parquet"
    rows = (1 << 22) + 1
    zeros = [np.zeros(rows, field.type.to_pandas_dtype()) for field in EVENTS]
    rewrite(path, pa.table(zeros, schema=EVENTS), row_group_size=rows)
    assert "do not add up" in refused(directory)


def test_a_histogram_of_levels_that_a_column_does_not_have(make_trace: Callable[..., Path]) -> None:
    """Arrow ends the interpreter over one: what is counted of definition levels is said to be of repetition levels."""
    path = next(make_trace(300).glob("*.samples.parquet"))
    text = path.read_bytes()
    at = text.index(b"\x29\x06\x19\x26")  # SizeStatistics in Thrift: field 2 an empty list, field 3 one of two numbers
    path.write_bytes(text[:at] + b"\x29\x26" + text[at + 4 : at + 6] + b"\x19\x06" + text[at + 6 :])
    with pytest.raises(TraceError, match="histogram"):
        [image.samples() for image in reader.open_trace(path.parent).processes]
