# SPDX-License-Identifier: LGPL-2.1-or-later
"""A mistake is told on one line, whatever the name that was given: nothing of it reaches the terminal as a command."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

NAME = b"/no\nsuch\x1b[31m\r\xff"
SHOWN = r"/no\nsuch\x1b[31m\r\udcff"


@pytest.mark.parametrize(
    "command",
    [["run", "--"], ["record", "-o", "/dev/null/trace", "--"], ["trace"], ["replay"], ["layout"], ["quiz"], ["verify"]],
    ids=" ".join,
)
def test_any_name_is_told_on_one_line(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "memtwin", *command, NAME], capture_output=True, check=False)
    told = os.fsdecode(done.stderr)
    assert done.returncode == 2
    assert told.startswith("memtwin: ") and told.count("\n") == 1 and told[:-1].isprintable()


def test_what_is_not_printable_is_shown_as_python_writes_it() -> None:
    done = subprocess.run([sys.executable, "-m", "memtwin", "trace", NAME], capture_output=True, text=True, check=False)
    assert done.stderr.startswith(f"memtwin: {SHOWN}: no such directory")
