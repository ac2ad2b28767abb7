# SPDX-License-Identifier: LGPL-2.1-or-later
"""The raw directory's life: made, filled, imported, gone; or found again later."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.trace.test_convert import shell_and_child

from memtwin.errors import TraceError
from memtwin.trace.rawdir import new_recording, unfinished_import
from memtwin.trace.reader import open_trace


def test_a_recording_becomes_a_trace_and_the_raw_files_go(tmp_path: Path) -> None:
    with new_recording(tmp_path / "t", ["sh", "-c", "é"]) as raw:
        shell_and_child(raw.path)
        raw.finish()
    assert not raw.path.exists()
    assert open_trace(tmp_path / "t").command == ("sh", "-c", "é")


def test_an_import_cut_short_is_finished_later(tmp_path: Path) -> None:
    with new_recording(tmp_path / "t", ["sh"]) as raw:
        shell_and_child(raw.path)
    with pytest.raises(TraceError, match="cut short"):
        open_trace(tmp_path / "t")
    with unfinished_import(tmp_path / "t") as found:
        assert found and found.finish().complete
    assert len(open_trace(tmp_path / "t").processes) == 3
    with unfinished_import(tmp_path / "t") as found:
        assert found is None


def test_a_recording_that_goes_on_is_left_alone(tmp_path: Path) -> None:
    with new_recording(tmp_path / "t", ["sh"]):
        with pytest.raises(TraceError, match="recording there"), unfinished_import(tmp_path / "t"):
            pass
        with pytest.raises(TraceError, match="recording there"), new_recording(tmp_path / "t", ["sh"]):
            pass


def test_a_damaged_file_keeps_the_raw_directory(tmp_path: Path) -> None:
    with new_recording(tmp_path / "t", ["sh"]) as raw:
        shell_and_child(raw.path)[2].write_bytes(b"")
        assert len(raw.finish().problems) == 1
    assert raw.path.exists()


def test_a_recording_of_nothing_leaves_nothing(tmp_path: Path) -> None:
    with new_recording(tmp_path / "t", ["sh"]) as raw:
        raw.discard()
    assert not (tmp_path / "t").exists()
