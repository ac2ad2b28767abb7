# SPDX-License-Identifier: LGPL-2.1-or-later
"""The host against itself: whatever is compared must be the same twice, or it could not be held against a model."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from memtwin.verify.host import Host
from memtwin.verify.repeat import Repeat
from memtwin.verify.run import verify_sequences
from memtwin.verify.scene import Scene
from memtwin.verify.session import ONCE, Session

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="frame numbers and map counts need root")


def test_the_host_repeats_itself() -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    with Scene() as scene:
        host = Host(scene)
        session = Session(Repeat(host), host)
        report = verify_sequences(session, str(seed), 20 * session.length)
        host.close()
    assert report.differences == []
    assert report.disturbed.get(ONCE, 0) <= 1


def test_the_command_tells_seed_and_counts_as_json() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "memtwin", "verify", "kernel", "--against", "host", "--ops", "300", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    report = json.loads(run.stdout)
    assert report["operations"] >= 300
    assert report["differences"] == []
    assert report["seed"]


def test_a_script_that_is_none_is_told_in_one_line(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("0 frob\n")
    run = subprocess.run(
        [sys.executable, "-m", "memtwin", "verify", "kernel", "--script", str(script)],
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stderr.count("\n")) == (2, 1)
    assert "line 1" in run.stderr
