# SPDX-License-Identifier: LGPL-2.1-or-later
"""Golden files: written and read back they are what was recorded; the twin comes to the same (in any environment)."""

from __future__ import annotations

from pathlib import Path

import pytest

from memtwin.errors import UserError
from memtwin.verify.golden import Playback, Recorded, read_golden, write_golden
from memtwin.verify.host import Start
from memtwin.verify.observation import Observation
from memtwin.verify.operations import Operation, Outcome
from memtwin.verify.session import Session

GOLDEN = sorted((Path(__file__).resolve().parents[1] / "golden").glob("kernel-*.json.gz"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
def test_a_golden_file_is_read_as_it_was_written(path: Path, tmp_path: Path) -> None:
    _, start, sequences = read_golden(path)
    assert len(sequences) >= 20
    write_golden(tmp_path / "copy.json.gz", start, sequences)
    _, start_again, sequences_again = read_golden(tmp_path / "copy.json.gz")
    assert (start_again, sequences_again) == (start, sequences)


def test_a_changed_outcome_is_found() -> None:
    """The check itself can fail: each field of an outcome, changed by hand, is told."""
    _, start, sequences = read_golden(GOLDEN[0])
    recorded = sequences[0]
    for field, value in {"result": -1, "minflt": 99, "signal": 5, "value": 3, "maps": b"\n"}.items():
        outcomes = list(recorded.outcomes)
        outcomes[7] = outcomes[7]._replace(**{field: value})
        changed = Recorded(recorded.seed, recorded.observe_every, recorded.operations, outcomes, recorded.seen)
        difference = Session(Echo(recorded), Playback(start, changed)).play(recorded.operations, 0)
        assert difference is not None
        assert (difference.step, difference.field) == (7, field)


class Echo:
    """A twin that repeats what was recorded."""

    def __init__(self, recorded: Recorded) -> None:
        self._outcomes = iter(recorded.outcomes)

    def restart(self, start: Start) -> None:
        """Nothing to do."""

    def play(self, operation: Operation) -> Outcome:
        """The next outcome."""
        return next(self._outcomes)

    def observe(self) -> Observation:
        """Nothing that was not recorded."""
        return {}

    def validate(self) -> None:
        """Nothing to check."""

    def finish(self) -> None:
        """Nothing to do."""


def test_what_is_no_golden_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"{}")
    with pytest.raises(UserError, match="no golden file"):
        read_golden(tmp_path / "bad")
