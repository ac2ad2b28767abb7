# SPDX-License-Identifier: LGPL-2.1-or-later
"""The decoder against an encoder that was written from the format's description alone."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.trace.rawfile import RawFileWriter, RawStream, varint, zigzag

from memtwin.trace.raw import RawFile
from memtwin.trace.schema import EVENTS, Op

MINUS_ONE = 2**64 - 1
Row = dict[str, int]


def decode(path: Path, batch_rows: int = 1 << 17) -> tuple[list[Row], RawFile]:
    """All rows, and the file."""
    raw = RawFile(path)
    decoder = raw.decoder(batch_rows)
    rows: list[Row] = []
    while decoder.fill():
        rows += decoder.batch().to_pylist()
    return rows, raw


def row(op: Op, thread: int = 77, **values: int) -> Row:
    return dict.fromkeys(EVENTS.names, 0) | {"op": int(op), "thread": thread, **values}


def test_each_operation_lands_in_its_columns(tmp_path: Path) -> None:
    raw = RawFileWriter()
    s = raw.stream()
    a, b = 0x5555_5555_92A0, 0x7FFF_F7A0_0010
    cases = [
        (Op.MALLOC, (24, ("P", a)), row(Op.MALLOC, size=24, result=a)),
        (Op.CALLOC, (3, 8, ("P", a)), row(Op.CALLOC, size=3, argument=8, result=a)),
        (Op.REALLOC, (2**63, ("P", a), ("P", b)), row(Op.REALLOC, size=2**63, pointer=a, result=b)),
        (60, (100, ("P", b)), row(Op.REALLOC, size=100, result=b)),
        (Op.FREE, (("P", b),), row(Op.FREE, pointer=b)),
        (Op.MEMALIGN, (64, 100, ("P", a)), row(Op.MEMALIGN, size=100, argument=64, result=a)),
        (Op.POSIX_MEMALIGN, (64, 100, ("P", a)), row(Op.POSIX_MEMALIGN, size=100, argument=64, result=a)),
        (Op.ALIGNED_ALLOC, (64, 100, ("P", a)), row(Op.ALIGNED_ALLOC, size=100, argument=64, result=a)),
        (Op.VALLOC, (100, ("P", a)), row(Op.VALLOC, size=100, result=a)),
        (Op.PVALLOC, (100, ("P", a)), row(Op.PVALLOC, size=100, result=a)),
        (Op.REALLOCARRAY, (3, 8, ("P", a), ("P", b)), row(Op.REALLOCARRAY, size=3, argument=8, pointer=a, result=b)),
        (Op.MALLOC_TRIM, (4096, 1), row(Op.MALLOC_TRIM, size=4096, result=1)),
        (Op.MALLOPT, (("Z", -3), ("Z", -2), 1), row(Op.MALLOPT, argument=(2**32 - 3) << 32 | 2**32 - 2, result=1)),
        (Op.MMAP, (0, 4096, 3, 34, 12288, b), row(Op.MMAP, size=4096, argument=3 << 32 | 34, extra=12288, result=b)),
        (Op.MMAP, (16, 1, 3, 0x22, 0, MINUS_ONE), row(Op.MMAP, size=1, pointer=16, argument=3 << 32 | 0x22,
                                                      result=MINUS_ONE)),
        (Op.MUNMAP, (b, 4096, ("Z", 0)), row(Op.MUNMAP, size=4096, pointer=b)),
        (Op.MREMAP, (a, 1, 2, 3, b, b), row(Op.MREMAP, size=2, pointer=a, argument=1, extra=3, result=b)),
        (Op.MADVISE, (a, 4096, ("Z", 4), ("Z", -1)), row(Op.MADVISE, size=4096, pointer=a, argument=4,
                                                         result=MINUS_ONE)),
        (Op.MPROTECT, (a, 4096, 1, ("Z", 0)), row(Op.MPROTECT, size=4096, pointer=a, argument=1)),
        (Op.BRK, (a, ("Z", -1)), row(Op.BRK, pointer=a, result=MINUS_ONE)),
        (Op.SBRK, (("Z", -4096), a), row(Op.SBRK, size=2**64 - 4096, result=a)),
        (Op.THREAD_CREATE, (99,), row(Op.THREAD_CREATE, argument=99)),
        (Op.THREAD_EXIT, (), row(Op.THREAD_EXIT)),
        (Op.THREAD_START, (99,), row(Op.THREAD_START, thread=99)),
        (Op.END, (5,), row(Op.END, thread=99)),
    ]  # fmt: skip
    for op, fields, _ in cases:
        s.event(op, *fields)
    rows, file = decode(raw.save(tmp_path / "x.raw"))
    assert rows == [expected for _, _, expected in cases]
    assert file.texts()["command_line"] == "true\0-x"


def test_every_operation_is_among_those(tmp_path: Path) -> None:
    tested = set(test_each_operation_lands_in_its_columns.__code__.co_names)
    assert set(Op.__members__) - tested == {"FORK", "EXEC", "MAPS", "LOST"}


def test_flags_errors_and_low_bits_belong_to_the_next_event_only(tmp_path: Path) -> None:
    raw = RawFileWriter()
    s = raw.stream()
    s.event(Op.MALLOC, 200_000, ("P", 0x7FFFF7A00010), flags=0x40)
    s.event(Op.MALLOC, 10, ("P", 0x7FFFF0000010), flags=0x80)
    s.side(49, varint(12))
    s.event(Op.MALLOC, 2**62, ("P", 0))
    s.side(50, varint(8))
    s.event(Op.FREE, ("P", 0x7FFFF0000018))
    s.event(Op.FREE, ("P", 0x7FFFF0000010))
    rows, _ = decode(raw.save(tmp_path / "x.raw"))
    assert [(one["flags"], one["error"], one["pointer"] or one["result"]) for one in rows] == [
        (2, 0, 0x7FFFF7A00010),
        (4, 0, 0x7FFFF0000010),
        (0, 12, 0),
        (0, 0, 0x7FFFF0000018),
        (0, 0, 0x7FFFF0000010),
    ]


def test_children_and_failed_execs(tmp_path: Path) -> None:
    raw = RawFileWriter()
    s = raw.stream()
    for outcome in (4242, -11):
        s.event(Op.FORK)
        s.side(52, zigzag(outcome))
    s.event(Op.EXEC)
    s.side(52, zigzag(-2))
    s.event(Op.FORK)
    s.event(Op.EXEC)
    rows, _ = decode(raw.save(tmp_path / "x.raw"), batch_rows=1)
    assert rows == [
        row(Op.FORK, argument=4242),
        row(Op.FORK, argument=MINUS_ONE, error=11),
        row(Op.EXEC, result=MINUS_ONE, error=2),
        row(Op.FORK),
        row(Op.EXEC),
    ]


def test_a_missing_number_is_a_lost_row(tmp_path: Path) -> None:
    raw = RawFileWriter()
    s = raw.stream()
    s.event(Op.FREE, ("P", 16), number=3)
    s.event(Op.FREE, ("P", 16), number=4)
    s.event(Op.FREE, ("P", 16), number=9)
    rows, file = decode(raw.save(tmp_path / "x.raw"))
    free = row(Op.FREE, pointer=16)
    assert rows == [row(Op.LOST, argument=2), free, free, row(Op.LOST, argument=4), free]
    decoder = file.decoder()
    assert (decoder.fill(), decoder.lost, decoder.operations()) == (5, 6, {"FREE": 3, "LOST": 2})


def random_run(raw: RawFileWriter, chance: random.Random, threads: int, events: int) -> list[Row]:
    """Events of several threads, the turn changing at random; the rows they make."""
    streams = [raw.stream(thread=100 + index, length=65536 * (index % 3 + 1)) for index in range(threads)]
    rows = []
    for _ in range(events):
        s = chance.choice(streams[: chance.randint(1, threads)])
        size, address = chance.getrandbits(chance.randint(0, 64)), chance.getrandbits(chance.randint(4, 48)) & ~15
        if chance.random() < 0.5:
            s.event(Op.MALLOC, size, ("P", address))
            rows.append(row(Op.MALLOC, s.thread, size=size, result=address))
        else:
            s.event(Op.REALLOC, size, ("P", address), ("P", size & ~15 & (2**60 - 1)))
            rows.append(row(Op.REALLOC, s.thread, size=size, pointer=address, result=size & ~15 & (2**60 - 1)))
    return rows


@pytest.mark.parametrize("threads", [1, 2, 3, 8, 50])
def test_streams_are_merged_by_number(tmp_path: Path, threads: int) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    raw = RawFileWriter()
    expected = random_run(raw, random.Random(seed), threads, 20_000)
    rows, file = decode(raw.save(tmp_path / "x.raw"), batch_rows=1000)
    assert rows == expected
    assert threads > 8 or max(map(len, file.streams)) > 1


@pytest.mark.parametrize("cut", [*range(65536 + 31, 65536 + 60), 65536 + 5000, 130_000, 131_072, 131_073, 140_000])
def test_a_file_cut_short_anywhere_gives_what_is_whole(tmp_path: Path, cut: int) -> None:
    raw = RawFileWriter()
    expected = random_run(raw, random.Random(cut), 1, 8000)
    path = raw.save(tmp_path / "x.raw")
    path.write_bytes(path.read_bytes()[:cut])
    rows, _ = decode(path)
    assert rows == expected[: len(rows)]
    assert len(rows) >= (cut - 65536 - 32) // 24 - 2  # a record is at most 21 bytes


def test_snapshots_are_told_as_differences(tmp_path: Path) -> None:
    raw = RawFileWriter()
    s, t = raw.stream(), raw.stream(thread=78)
    s.side(51, varint(6), b"one\ntw")
    s.side(51, varint(2), b"o\n")
    s.event(Op.MAPS, 7, 0, 0, 0)
    t.side(51, varint(3), b"1\n2")
    t.event(Op.MAPS, 9, 1, 4, 3)
    s.event(Op.MAPS, 9, 0, 2**64 - 1, 2**64 - 1)
    decoder = RawFile(raw.save(tmp_path / "x.raw")).decoder()
    assert decoder.fill() == 3
    assert [tuple(one)[:4] for one in decoder.snapshots] == [(0, 0, 7, False), (1, 1, 9, True), (2, 2, 9, False)]
    assert [one.text for one in decoder.snapshots] == [b"one\ntwo\n", b"one\n1\n2wo\n", b"one\n1\n2wo\n" * 2]
    assert decoder.batch().column(6).to_pylist() == [0, 1, 2]


def test_samples_and_notes(tmp_path: Path) -> None:
    raw = RawFileWriter()
    s = raw.stream()
    s.event(Op.FREE, ("P", 16))
    s.side(53, varint(2), varint(10**9), varint(0b1000_0101), varint(1 << 40), varint(7), varint(2**64 - 1))
    s.side(54, varint(1), varint(33))
    for resident in (4096, 1 << 40, 8192):
        s.side(55, varint(1), varint(resident))
    s.event(Op.FREE, ("P", 16))
    decoder = RawFile(raw.save(tmp_path / "x.raw")).decoder()
    assert decoder.fill() == 2
    assert decoder.found.blocks == {1: 1 << 40}
    assert [tuple(one) for one in decoder.found.samples] == [(3, 10**9, 0b1000_0101, (1 << 40, 7, 2**64 - 1))]
    assert decoder.found.notes == {1: 33}


def test_an_unknown_record_ends_its_chunk(tmp_path: Path) -> None:
    for op in (13, 15, 23, 33 + 10, 47, 56, 63):
        raw = RawFileWriter()
        s = raw.stream()
        s.event(Op.FREE, ("P", 16))
        s.side(op, b"\1\2\3")
        s.event(Op.FREE, ("P", 32))
        s.new_chunk()
        s.event(Op.FREE, ("P", 48))
        rows, _ = decode(raw.save(tmp_path / "x.raw"))
        assert [one["pointer"] for one in rows] == [16, 0, 48]


def test_batches_share_memory_and_sizes_add_up(tmp_path: Path) -> None:
    raw = RawFileWriter()
    expected = random_run(raw, random.Random(3), 2, 3000)
    decoder = RawFile(raw.save(tmp_path / "x.raw")).decoder(batch_rows=700)
    tables = []
    while decoder.fill():
        batch = decoder.batch()
        assert not batch.column(8).to_numpy().flags.owndata
        tables.append(pa.table([pa.array(np.array(column)) for column in batch.columns], schema=EVENTS))
    assert pa.concat_tables(tables).to_pylist() == expected
    assert decoder.allocated_bytes == sum(one["size"] for one in expected) % 2**64


def test_the_streams_of_a_file_are_found_behind_holes(tmp_path: Path) -> None:
    raw = RawFileWriter()
    s: RawStream = raw.stream()
    s.event(Op.FREE, ("P", 16))
    s.flush()
    raw.chunks.append(bytes(65536 * 3))
    s.event(Op.FREE, ("P", 32))
    rows, _ = decode(raw.save(tmp_path / "x.raw"))
    assert [one["pointer"] for one in rows] == [16, 32]
