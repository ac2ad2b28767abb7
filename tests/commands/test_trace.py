# SPDX-License-Identifier: LGPL-2.1-or-later
"""`memtwin trace` as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.trace.test_convert import shell_and_child

from memtwin.trace.rawdir import new_recording


def memtwin(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "memtwin", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def unfinished(tmp_path: Path) -> Path:
    with new_recording(tmp_path / "t", ["sh", "-c", "x\x1b[31m"]) as raw:
        shell_and_child(raw.path)
    return tmp_path / "t"


def test_it_finishes_an_import_and_shows_the_tree(tmp_path: Path) -> None:
    directory = unfinished(tmp_path)
    done = memtwin("trace", directory)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{directory}: 12 events of sh")
    assert [line.split()[0] for line in lines[2:5]] == ["7", "9", "9.1"]
    assert "2 events lost" in lines[2] and "ENOSPC" in lines[4]
    assert "\x1b" not in done.stdout


def test_json(tmp_path: Path) -> None:
    value = json.loads(memtwin("trace", unfinished(tmp_path), "--json").stdout)
    assert (value["events"], value["lost"], value["complete"]) == (12, 2, True)
    child = value["processes"][1]
    assert (child["parent"], child["origin"], child["parent_event"], child["ending"]) == ("7", "fork", 4, "exec")
    assert child["operations"] == {"MALLOC": 1, "EXEC": 1}
    assert all(process["file_bytes"] > 0 for process in value["processes"])


def test_a_wrong_directory_is_one_line(tmp_path: Path) -> None:
    done = memtwin("trace", tmp_path / "nothing")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("memtwin: ") and done.stderr.count("\n") == 1
