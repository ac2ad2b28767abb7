# SPDX-License-Identifier: LGPL-2.1-or-later
"""A disk that fills while a trace is imported: the program ends as it did, and nothing that was recorded is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.host.watch import build, need_recorder, need_root

MEMTWIN = [sys.executable, "-m", "memtwin"]
MANY = """#include <stdlib.h>
int main(void) { for (int i = 0; i < 400000; i++) { void *p = malloc(100 + i % 5000); if (i % 3) free(p); } return 7; }"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 3 MiB: enough for what is recorded, not for its import, too."""
    need_recorder()
    need_root("mount a tmpfs")
    path = tmp_path / "disk"
    path.mkdir()
    options = ["-t", "tmpfs", "-o", "size=3m", "none", str(path)]
    done = subprocess.run(["mount", *options], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs: {done.stderr.decode().strip()}")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def memtwin(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [*MEMTWIN, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


def test_record_keeps_the_status_and_goes_on_later(small_disk: Path, tmp_path: Path) -> None:
    trace = small_disk / "trace"
    done = memtwin("record", "-o", trace, "--", build(tmp_path, MANY, "-O0"))
    assert done.returncode == 7
    assert "make room" in done.stderr and done.stderr.count("\n") == 1
    subprocess.run(["mount", "-o", "remount,size=60m", str(small_disk)], check=True)
    later = memtwin("trace", trace)
    assert later.returncode == 0 and " events of " in later.stdout


def test_run_keeps_the_status_and_the_trace(small_disk: Path, tmp_path: Path) -> None:
    done = memtwin("run", "--", build(tmp_path, MANY, "-O0"), TMPDIR=str(small_disk))
    assert done.returncode == 7
    (left,) = small_disk.glob("memtwin-*/trace")
    assert f"`memtwin trace {left}` goes on" in done.stderr


def test_a_disk_that_is_full_before(small_disk: Path) -> None:
    (small_disk / "trace").mkdir()
    with open(small_disk / "much", "wb") as file, pytest.raises(OSError):
        file.write(bytes(4 << 20))
    done = memtwin("record", "--json", "-o", small_disk / "trace", "--", "true")
    assert done.returncode == 2
    assert "No space left on device; name another directory" in done.stderr and done.stderr.count("\n") == 1
