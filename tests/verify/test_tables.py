# SPDX-License-Identifier: LGPL-2.1-or-later
"""The errno table and the edges of fault-around, on the twin and on the real kernel; from a golden file without root."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.verify.tables import ERRNO, FAULT_AROUND, Row

from memtwin.verify.golden import Playback, read_golden
from memtwin.verify.host import Host
from memtwin.verify.operations import Outcome, parse_script
from memtwin.verify.scene import Scene
from memtwin.verify.session import Session
from memtwin.verify.twin import KernelTwin

ROWS = [*ERRNO, *FAULT_AROUND]
GOLDEN = sorted((Path(__file__).resolve().parents[1] / "golden").glob("tables-*.json.gz"))


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    if os.geteuid() != 0:
        pytest.skip("the real kernel's map counts need root; the golden file is compared instead")
    with Scene() as scene:
        host = Host(scene)
        yield Session(KernelTwin(), host)
        host.close()


def check(row: Row, outcome: Outcome) -> None:
    """The row shows what it is meant to show."""
    if isinstance(row.expected, tuple):
        assert (outcome.signal, outcome.code) == row.expected
    elif row.expected is None:
        assert outcome.result >= 0
        assert not outcome.signal
    else:
        assert outcome.result == row.expected


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_on_the_real_kernel(row: Row, session: Session) -> None:
    operations = parse_script(row.script)
    played, difference = session.replay(operations)
    difference, _ = session.settle(operations, difference)
    assert difference is None, str(difference)
    check(row, played.outcomes[-1])


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
def test_as_recorded(path: Path) -> None:
    _, start, sequences = read_golden(path)
    by_name = {sequence.seed: sequence for sequence in sequences}
    assert set(by_name) == {row.name for row in ROWS}
    for row in ROWS:
        recorded = by_name[row.name]
        assert recorded.operations == parse_script(row.script)
        check(row, recorded.outcomes[-1])
        difference = Session(KernelTwin(), Playback(start, recorded)).play(recorded.operations)
        assert difference is None, f"{row.name}: {difference}"
