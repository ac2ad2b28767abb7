# SPDX-License-Identifier: LGPL-2.1-or-later
"""Real programs' starts: layout and every memory call equal; live where strace is, from recordings everywhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.verify.programs import PROGRAMS

from memtwin.errors import UserError
from memtwin.verify.start import read_recordings, record_start, replay_recording, verify_start, write_recordings
from memtwin.verify.strace import parse_strace

GOLDEN = sorted((Path(__file__).resolve().parents[1] / "golden").glob("start-*.json.gz"))


@pytest.mark.parametrize("argv", PROGRAMS, ids=lambda argv: os.path.basename(argv[0]))
def test_a_real_program_now(argv: list[str]) -> None:
    if not shutil.which("strace"):
        pytest.skip("strace is missing: apt install strace")
    if not Path(argv[0]).exists():
        pytest.skip(f"{argv[0]} is missing")
    report = verify_start(record_start(argv))
    assert report.equal, str(report)
    assert report.calls > 3


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
def test_recorded_programs(path: Path) -> None:
    recordings = read_recordings(path)
    assert len(recordings) >= 8
    for recording in recordings:
        report = replay_recording(recording)
        assert report.equal, str(report)


def test_a_changed_result_is_found() -> None:
    """The check itself can fail."""
    recording = read_recordings(GOLDEN[0])[0]
    changed = recording.calls[2]._replace(result=recording.calls[2].result ^ 0x1000)
    calls = (*recording.calls[:2], changed, *recording.calls[3:])
    report = replay_recording(replace(recording, calls=calls))
    assert [one.number for one in report.mismatches] == [2]
    assert "call 2: " in str(report)


def test_recordings_are_read_as_they_were_written(tmp_path: Path) -> None:
    recordings = read_recordings(GOLDEN[0])
    write_recordings(tmp_path / "copy", recordings)
    assert read_recordings(tmp_path / "copy") == recordings
    (tmp_path / "bad").write_bytes(b"{}")
    with pytest.raises(UserError, match="no recorded program starts"):
        read_recordings(tmp_path / "bad")


def test_straces_lines_are_understood() -> None:
    lines = [
        "mmap(NULL, 8192, 0x3, 0x22, -1, 0) = 0x7ffff7fb8000",
        "mmap(0x7ffff7de0000, 0x1000, 0x1, 0x812, 3</usr/lib/a, b.so>, 0x29000) = 0x7ffff7de0000",
        "munmap(0x1, 4096) = -1 EINVAL (Invalid argument)",
        "--- SIGCHLD {si_signo=17} ---",
        "+++ exited with 0 +++",
    ]
    first, second, third = parse_strace(lines)
    assert first == ("mmap", (0, 8192, 3, 0x22, -1, 0), None, 0x7FFFF7FB8000)
    assert (second.path, second.arguments[4:]) == ("/usr/lib/a, b.so", (3, 0x29000))
    assert third.result == -22


def test_the_command() -> None:
    if not shutil.which("strace"):
        pytest.skip("strace is missing: apt install strace")
    run = [sys.executable, "-m", "memtwin", "verify", "start", "--json", "--", "cat", "/dev/null"]
    done = subprocess.run(run, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["mismatches"] == []
    missing = subprocess.run([*run[:-2], "/no/such"], capture_output=True, text=True)
    assert missing.returncode == 2
    assert missing.stderr.count("\n") == 1
