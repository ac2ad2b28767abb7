# SPDX-License-Identifier: LGPL-2.1-or-later
"""`memtwin replay` and `memtwin run` from the outside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIELDS = """pid command events compared equal agreement first_mismatch peak_rss_bytes final_rss_bytes minor_faults
system_calls ledger seconds events_per_second glibc""".split()


def memtwin(*words: str | Path, columns: int = 100) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "memtwin", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": str(columns)})


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("trace")
    script = "for i in 1 2 3; do (x=$i; for j in 1 2 3 4 5 6 7 8 9; do x=$x$x; done; echo ${#x}); done; exit 3"
    done = memtwin("record", "-o", place / "trace", "--", "bash", "-c", script)
    assert done.returncode == 3, done.stderr
    return place / "trace"


def test_json_has_the_fields(trace: Path) -> None:
    done = memtwin("replay", trace, "--json")
    assert done.returncode == 0, done.stderr
    processes = json.loads(done.stdout)["processes"]
    assert len(processes) == 4
    for one in processes:
        assert [name for name in FIELDS if name not in one] == []
        assert one["agreement"] == 1.0
        assert one["first_mismatch"] is None
        assert sum(one["ledger"]["final"].values()) == one["final_rss_bytes"]
        assert sum(one["ledger"]["peak"].values()) == one["peak_rss_bytes"]
    assert processes[0]["system_calls"]["brk"] > 0


def test_for_people(trace: Path) -> None:
    done = memtwin("replay", trace)
    assert done.returncode == 0, done.stderr
    assert "resident at the end" in done.stdout
    assert "Exact: all" in done.stdout
    assert done.stdout.count(" fork") == 3
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_what_if_stands_beside(trace: Path) -> None:
    done = memtwin("replay", trace, "--set", "tcache_count=0", "--set", "top_pad=0")
    assert done.returncode == 0, done.stderr
    assert "what if" in done.stdout
    assert "GLIBC_TUNABLES=glibc.malloc.tcache_count=0:glibc.malloc.top_pad=0" in " ".join(done.stdout.split())
    value = json.loads(memtwin("replay", trace, "--set", "top_pad=0", "--json").stdout)
    assert value["what_if"]["settings"] == {"top_pad": 0}
    assert value["what_if"]["processes"][0]["system_calls"]["brk"] > value["processes"][0]["system_calls"]["brk"]


def test_nearest_says_what_it_takes(trace: Path) -> None:
    done = memtwin("replay", trace, "--glibc", "nearest", "--json")
    assert done.returncode == 0, done.stderr
    release = json.loads(done.stdout)["processes"][0]["glibc"]
    assert f"glibc {release} is modelled: it is taken as it is" in done.stderr
    assert "what_if" not in json.loads(done.stdout)


def test_run_is_the_program_and_the_answer(tmp_path: Path) -> None:
    done = memtwin("run", "-o", tmp_path / "kept", "--json", "--", "sh", "-c", "echo from the program; exit 7")
    assert done.returncode == 7
    first, _, rest = done.stdout.partition("\n")
    assert first == "from the program"
    assert json.loads(rest)["processes"][0]["agreement"] == 1.0
    assert json.loads(rest)["status"] == 7
    assert (tmp_path / "kept" / "trace.json").exists()


def test_mistakes_are_one_line(trace: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(trace, broken)
    events = max(broken.glob("*.events.parquet"), key=lambda path: path.stat().st_size)
    events.write_bytes(events.read_bytes()[:2000])
    for words in (
        ["replay", "/no/such/trace"],
        ["replay", broken],
        ["replay", trace, "--set", "nonsense"],
        ["replay", trace, "--set", "mmap_threshold=many"],
        ["replay", trace, "--set", "no_such_knob=1"],
        ["replay", trace, "--glibc", "1.0"],
        ["replay", trace, "--pid", "1"],
        ["run", "--", "/no/such/program"],
        ["run", "--set", "x", "--", "true"],
    ):
        done = memtwin(*words)
        assert done.returncode == 2, words
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert "Traceback" not in done.stderr
