# SPDX-License-Identifier: LGPL-2.1-or-later
"""Standard streams that are closed or full: the program is undisturbed, its status kept, no traceback."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tests.host.watch import need_recorder

MEMTWIN = shlex.join([sys.executable, "-m", "memtwin"])


@pytest.fixture(autouse=True)
def recorder() -> None:
    need_recorder()


def shell(line: str, **settings: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, **settings)  # type: ignore[call-overload]
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    return done  # type: ignore[no-any-return]


STREAMS = [">&-", ">/dev/full", ">&- 2>&-", "2>/dev/full", ">/dev/full 2>&1", "| true", "<&-"]


@pytest.mark.parametrize("streams", STREAMS)
@pytest.mark.parametrize("command", ["run", "run --json", "record -o trace", "record --json -o trace"])
def test_the_programs_status_is_kept(command: str, streams: str, tmp_path: Path) -> None:
    done = shell(f"set -o pipefail; {MEMTWIN} {command} -- sh -c 'exit 3' {streams}", cwd=tmp_path)
    assert done.returncode == 3, done.stderr


@pytest.mark.parametrize("streams", [">&-", ">&- 2>&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_the_program_finds_what_is_closed_closed(streams: str, tmp_path: Path) -> None:
    look = "import os; open('seen', 'w').write(repr([os.path.exists(f'/proc/self/fd/{n}') for n in range(3)]))"
    line = f"{shlex.quote(sys.executable)} -c {shlex.quote(look)} {streams}"
    shell(line, cwd=tmp_path)
    alone = (tmp_path / "seen").read_text()
    shell(f"{MEMTWIN} record -o trace -- {line}", cwd=tmp_path)
    assert (tmp_path / "seen").read_text() == alone


@pytest.mark.parametrize("command", ["layout 'struct s { int x; };'", "quiz usable", "--help"])
def test_output_that_cannot_be_written_is_one_line(command: str) -> None:
    done = shell(f"{MEMTWIN} {command} >/dev/full")
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["memtwin: standard output: No space left on device"]
    assert shell(f"{MEMTWIN} {command} | true").stderr == ""


def test_json_says_why_there_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "s.c").write_text("int main(void) { return 7; }\n")
    subprocess.run(["cc", "-static", "s.c", "-o", "static"], cwd=tmp_path, check=True)
    done = shell(f"{MEMTWIN} run --json -- ./static", cwd=tmp_path)
    value = json.loads(done.stdout)
    assert value["status"] == done.returncode and "statically linked" in value["reason"]


@pytest.mark.parametrize(
    "options", ["--glibc 9.9", "--set perturb=256", "--set mmap_threshold=64MiB", "--set mxfast=999"]
)
def test_a_wrong_option_is_refused_before_the_program_runs(options: str, tmp_path: Path) -> None:
    done = shell(f"{MEMTWIN} run {options} -- touch ran", cwd=tmp_path)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and not (tmp_path / "ran").exists()


def test_the_environment_and_the_name_are_the_users(tmp_path: Path) -> None:
    (tmp_path / "show").write_text("#!/bin/sh\necho $0; env\n")
    (tmp_path / "show").chmod(0o755)
    clean = "env -i PATH=/usr/bin:/bin"
    alone = shell(f"{clean} ./show", cwd=tmp_path).stdout.splitlines()
    seen = shell(f"{clean} {MEMTWIN} record -o trace -- ./show", cwd=tmp_path).stdout.splitlines()
    added = ("LD_PRELOAD=", "MEMTWIN_TRACE=", "ASAN_OPTIONS=")
    assert [line for line in seen if not line.startswith(added)] == alone
    given = shell(f"{clean} LC_CTYPE=C.UTF-8 {MEMTWIN} record -o trace -- env", cwd=tmp_path).stdout
    assert "LC_CTYPE=C.UTF-8" in given


def test_a_file_that_may_not_be_executed_is_passed_over_in_path(tmp_path: Path) -> None:
    for place, mode in (("one", 0o644), ("two", 0o755)):
        (tmp_path / place).mkdir()
        (tmp_path / place / "tool").write_text(f"#!/bin/sh\necho {place}\n")
        (tmp_path / place / "tool").chmod(mode)
    path = f"PATH={tmp_path}/one:{tmp_path}/two:$PATH"
    assert shell(f"{path} {MEMTWIN} record -o trace -- tool", cwd=tmp_path).stdout == "two\n"
    path = f"PATH={tmp_path}/one:$PATH"
    refused = shell(f"{path} {MEMTWIN} record -o trace -- tool", cwd=tmp_path)
    assert refused.returncode == 2 and "permission denied" in refused.stderr
