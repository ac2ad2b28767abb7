# SPDX-License-Identifier: LGPL-2.1-or-later
"""Damaged traces are read or refused with one line; the reader neither crashes nor asks for much memory."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.trace.test_convert import shell_and_child

CASES = {"parquet": 400, "raw": 150}
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("what", CASES)
def test_damage_of_every_kind(what: str, make_trace: Callable[..., Path], tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed}")
    if what == "parquet":
        directory = make_trace(300)
    else:
        directory = tmp_path / "raw"
        directory.mkdir()
        shell_and_child(directory)
    command = [sys.executable, "-m", "tests.trace.fuzz", what, str(directory), str(seed), str(CASES[what])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    last = done.stderr[-2000:]
    assert done.returncode == 0, f"{' '.join(command[2:])}: ended with {done.returncode}\n{last}"
    read, refused = (int(part.split()[0]) for part in done.stdout.split(", ")[:2])
    assert read + refused == CASES[what], done.stdout
    if what == "parquet":  # of a damaged raw file what is whole is read, and of several the good ones are imported
        assert refused > 20, done.stdout
