# SPDX-License-Identifier: LGPL-2.1-or-later
"""What counts as a difference when the kernel itself has changed pages meanwhile: only what shows again, or unexplained."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.verify.test_golden import Echo

from memtwin.verify.compare import Difference
from memtwin.verify.disturbance import CAUSES, EVICTED, WRITTEN, Watch, read_file_cache, read_vmstat
from memtwin.verify.golden import Playback, Recorded, read_golden
from memtwin.verify.observation import Observation
from memtwin.verify.operations import Operation, Outcome
from memtwin.verify.session import TRIES, Session

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
PAGES = 8


class Flaky(Playback):
    """A host that answers wrongly in its first `wrong` plays, and tells a cause for it, or none."""

    def __init__(self, start: object, recorded: Recorded, wrong: int, cause: str) -> None:
        super().__init__(start, recorded)  # type: ignore[arg-type]
        self.wrong, self.cause = wrong, cause
        self.plays = 0

    def play(self, operations: Sequence[Operation]) -> list[Outcome]:
        outcomes = super().play(operations)
        self.plays += 1
        return [outcomes[0]._replace(minflt=99), *outcomes[1:]] if self.plays <= self.wrong else outcomes

    def disturbances(self) -> tuple[str, ...]:
        return (self.cause,) if self.cause else ()


class EchoAgain(Echo):
    """A twin that repeats what was recorded, each time from the beginning."""

    def __init__(self, recorded: Recorded) -> None:
        super().__init__(recorded)
        self.recorded = recorded

    def restart(self, start: object) -> None:
        self._outcomes = iter(self.recorded.outcomes)

    def observe(self) -> Observation:
        return {}


def settle(wrong: int, cause: str) -> tuple[Difference | None, frozenset[str]]:
    _, start, sequences = read_golden(sorted(GOLDEN.glob("kernel-*.json.gz"))[0])
    operations = sequences[0].operations
    session = Session(EchoAgain(sequences[0]), Flaky(start, sequences[0], wrong, cause))
    return session.settle(operations, session.play(operations, 0), 0)


def test_what_vanishes_with_a_cause_is_a_disturbance() -> None:
    assert settle(1, "khugepaged") == (None, {"khugepaged"})


def test_what_vanishes_without_a_cause_is_a_difference() -> None:
    difference, causes = settle(1, "")
    assert difference is not None
    assert difference.field == "minflt"
    assert not causes


@pytest.mark.parametrize("cause", ["", "khugepaged"])
def test_what_shows_again_is_a_difference_whatever_was_going_on(cause: str) -> None:
    difference, _ = settle(TRIES + 1, cause)
    assert difference is not None
    assert difference.step == 0


def test_without_a_difference_nothing_is_played_again() -> None:
    assert settle(0, "khugepaged") == (None, frozenset())


@pytest.fixture
def dirty_file(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open("/var/tmp", os.O_TMPFILE | os.O_RDWR)
    os.write(descriptor, b"x" * PAGES * 4096)
    yield descriptor
    os.close(descriptor)


def test_write_back_and_reclaim_of_the_file_are_seen(dirty_file: int) -> None:
    cache = read_file_cache(dirty_file)
    if cache is None or cache.dirty != PAGES:
        pytest.skip("needs cachestat(2), Linux 6.5, and a disk file system in /var/tmp")
    watch = Watch(dirty_file)
    watch.begin()
    assert not {WRITTEN, EVICTED} & set(watch.causes())
    os.fdatasync(dirty_file)
    assert WRITTEN in watch.causes()
    os.posix_fadvise(dirty_file, 0, 0, os.POSIX_FADV_DONTNEED)
    assert EVICTED in watch.causes()


def test_each_counter_that_is_asked_exists_here() -> None:
    """A counter that no longer exists would hide its cause."""
    counters = read_vmstat()
    if "thp_collapse_alloc" not in counters or "thp_underused_split_page" not in counters:
        pytest.skip("needs a kernel with transparent huge pages, 6.12 or later")
    assert {name for names in CAUSES.values() for name in names} - {"pswpout"} <= set(counters)


def test_a_counter_that_grew_names_its_cause(dirty_file: int) -> None:
    watch = Watch(dirty_file)
    watch.begin()
    watch._before["thp_collapse_alloc"] = -1
    assert "khugepaged made huge pages" in watch.causes()
