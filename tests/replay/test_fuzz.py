# SPDX-License-Identifier: LGPL-2.1-or-later
"""Traces whose contents are lies are replayed or refused with one line; nothing crashes or hangs. See fuzz.py."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from tests.replay.conftest import ROOT, Recorder

CASES = 60


@pytest.mark.parametrize("cases", [CASES, pytest.param(5000, marks=pytest.mark.long)])
def test_lies_of_every_kind(cases: int, recorded: Recorder, programs: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed}")
    good = recorded(programs / "everything").directory
    command = [sys.executable, "-m", "tests.replay.fuzz", str(good), str(seed), str(cases)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command[2:])}: ended with {done.returncode}\n{done.stderr[-2000:]}"
    replayed, refused = (int(part.split()[0]) for part in done.stdout.split(", "))
    assert replayed + refused == cases and refused
