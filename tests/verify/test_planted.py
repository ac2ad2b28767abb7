# SPDX-License-Identifier: LGPL-2.1-or-later
"""The checks find faults: each of these, planted in the twin, shows as a difference; without one nothing does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = sorted((ROOT / "tests" / "golden").glob("tables-*.json.gz")) + sorted(
    (ROOT / "tests" / "golden").glob("kernel-*.json.gz")
)
FOUND_AS = {
    "wrong merge rule": "maps differs",
    "missed copy on write": "copy on write is missing",
    "frame leak": "",
    "off by one in fault-around": "",
    "no guard gap": "",
    "what may only be executed is read": "",
    "a share counted whole": "Pss",
}


def played(fault: str) -> subprocess.CompletedProcess[str]:
    run = [sys.executable, str(ROOT / "tests" / "verify" / "planted.py"), fault, *map(str, GOLDEN)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(run, capture_output=True, text=True, env=environment, timeout=300)


@pytest.mark.parametrize("fault", FOUND_AS)
def test_a_planted_fault_is_found(fault: str) -> None:
    done = played(fault)
    print(done.stdout)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "differs" in done.stdout or "the twin fails" in done.stdout, done.stderr
    assert FOUND_AS[fault] in done.stdout


def test_without_one_nothing_is_found() -> None:
    done = played("none")
    assert done.returncode == 0, done.stdout + done.stderr
