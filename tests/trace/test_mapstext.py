# SPDX-License-Identifier: LGPL-2.1-or-later
"""The kernel's own text, line by line."""

from __future__ import annotations

from pathlib import Path

import psutil

from memtwin.trace.decode import Snapshot
from memtwin.trace.mapstext import MapsTable


def rows(text: bytes, **kwargs: object) -> list[dict[str, object]]:
    return MapsTable().batch(Snapshot(3, 70, 9, False, text)).to_pylist()


def test_our_own_mappings_as_psutil_reads_them() -> None:
    ours = rows(Path("/proc/self/maps").read_bytes())
    theirs = psutil.Process().memory_maps(grouped=False)
    spans = {(f"{row['start']:x}".zfill(8) + "-" + f"{row['end']:x}".zfill(8), row["permissions"]) for row in ours}
    assert len(spans & {(one.addr, one.perms) for one in theirs}) >= len(theirs) - 5  # reading maps memory too
    assert {row["path"] for row in ours} >= {"[stack]", "[heap]"}
    assert {(row["snapshot"], row["event"], row["time_ns"]) for row in ours} == {(3, 70, 9)}


def test_a_line_with_rss_and_a_path_that_is_no_text() -> None:
    (row,) = rows(b"12 7f00-8f00 r-xs 00001000 fe:01 18446744073709551615      /a b\xff (deleted)\n")
    assert row == {
        "snapshot": 3, "event": 70, "time_ns": 9, "start": 0x7F00, "end": 0x8F00, "permissions": "r-xs",
        "offset": 0x1000, "device": "fe:01", "inode": 2**64 - 1, "path": "/a b\\xff (deleted)", "rss_bytes": 12288,
    }  # fmt: skip


def test_what_is_no_line_is_counted_and_left_out() -> None:
    table = MapsTable()
    text = b"nonsense\n1000-2000 rw-p 00000000 00:00 0 \n\n1000-2000 rw-p\nnonsense\n"
    assert table.batch(Snapshot(0, 0, 0, False, text)).num_rows == 1
    assert table.bad_lines == 3
    assert table.batch(Snapshot(1, 9, 0, False, b"")).num_rows == 0
