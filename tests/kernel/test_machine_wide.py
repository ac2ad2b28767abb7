# SPDX-License-Identifier: LGPL-2.1-or-later
"""A machine-wide setting is restored after its test, after a failure in it, and after SIGKILL."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.kernel.machine_wide import changed

ROOT = Path(__file__).resolve().parents[2]
KILLED = """
import sys, time
from pathlib import Path
from tests.kernel.machine_wide import changed
with changed(Path(sys.argv[1]), "2\\n"):
    print("changed", flush=True)
    time.sleep(60)
"""


def test_it_is_restored_after_use_and_after_a_failure(tmp_path: Path) -> None:
    setting = tmp_path / "overcommit_memory"
    setting.write_text("0\n")
    with changed(setting, "1\n"):
        assert setting.read_text() == "1\n"
    with pytest.raises(ValueError), changed(setting, "2\n"):
        raise ValueError
    assert setting.read_text() == "0\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_it_is_restored_when_the_test_is_killed(tmp_path: Path, number: signal.Signals) -> None:
    setting = tmp_path / "overcommit_memory"
    setting.write_text("0\n")
    run = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(setting)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert run.stdout is not None
    assert run.stdout.readline() == b"changed\n"
    assert setting.read_text() == "2\n"
    run.send_signal(number)
    run.wait()
    run.stdout.close()
    end = time.monotonic() + 10
    while setting.read_text() != "0\n" and time.monotonic() < end:
        time.sleep(0.01)
    assert setting.read_text() == "0\n"
