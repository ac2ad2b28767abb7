# SPDX-License-Identifier: LGPL-2.1-or-later
"""Recorded programs for the tests of the replay."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from memtwin.trace.reader import Trace, open_trace

ROOT = Path(__file__).resolve().parents[2]
Recorder = Callable[..., Trace]


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the compiled examples and tests/programs."""
    place = tmp_path_factory.mktemp("programs")
    for source in (*ROOT.glob("examples/*.c"), *ROOT.glob("tests/programs/*.c")):
        subprocess.run(["cc", "-O1", "-pthread", str(source), "-o", str(place / source.stem)], check=True)
    return place


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    """Records a command, under additions to the environment; each once."""
    known: dict[tuple[object, ...], Trace] = {}

    def record(*command: str | Path, **environment: str) -> Trace:
        words = [str(word) for word in command]
        key = (*words, *sorted(environment.items()))
        if key not in known:
            place = tmp_path_factory.mktemp("recorded") / "trace"
            run = [sys.executable, "-m", "memtwin", "record", "-o", str(place), "--", *words]
            subprocess.run(run, check=True, capture_output=True, env={**os.environ, **environment})
            known[key] = open_trace(place)
        return known[key]

    return record
