# SPDX-License-Identifier: LGPL-2.1-or-later
"""The hot rooms are one source with two meanings: compiled by Cython, and plain Python. Both do the same."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CALLS = 1500


def play(seed: str, **environment: str) -> dict[str, Any]:
    command = [sys.executable, str(ROOT / "tests" / "legs" / "play.py"), seed, str(CALLS)]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_compiled_and_uncompiled_do_the_same() -> None:
    seed = secrets.token_hex(4)
    print(f"seed {seed}")
    compiled = play(seed)
    plain = play(seed, PYTHONPATH=str(ROOT / "src"))
    assert Path(plain["where"]).is_relative_to(ROOT / "src")
    assert not Path(compiled["where"]).is_relative_to(ROOT / "src")
    assert len(compiled["seen"]) == CALLS
    for number, (one, other) in enumerate(zip(compiled["seen"], plain["seen"], strict=True)):
        assert one == other, f"call {number}"
    assert compiled["last"] == plain["last"]
