# SPDX-License-Identifier: LGPL-2.1-or-later
"""What counts as a difference when the kernel itself has changed pages meanwhile: only what shows again, or what a
program sees and nothing explains."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Sequence
from pathlib import Path

import pytest
from tests.verify.test_golden import Echo

from memtwin.verify.compare import Difference
from memtwin.verify.disturbance import CAUSES, EVICTED, WRITTEN, Watch, read_file_cache, read_vmstat
from memtwin.verify.golden import Playback, Recorded, read_golden
from memtwin.verify.observation import Observation
from memtwin.verify.operations import Operation, Outcome
from memtwin.verify.session import ONCE, PROGRAM_SEES, TRIES, Session

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
PAGES = 8


class Flaky(Playback):
    """A host that answers wrongly in its plays `wrong` (from 1), and tells a cause for it, or none."""

    def __init__(self, start: object, recorded: Recorded, wrong: Container[int], cause: str, field: str) -> None:
        super().__init__(start, recorded)  # type: ignore[arg-type]
        self.wrong, self.cause, self.field = wrong, cause, field
        self.plays = 0

    def play(self, operations: Sequence[Operation]) -> list[Outcome]:
        outcomes = super().play(operations)
        self.plays += 1
        return [outcomes[0]._replace(**{self.field: 99}), *outcomes[1:]] if self.plays in self.wrong else outcomes

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


def settle(wrong: Container[int], cause: str = "", field: str = "minflt") -> tuple[Difference | None, frozenset[str]]:
    _, start, sequences = read_golden(sorted(GOLDEN.glob("kernel-*.json.gz"))[0])
    operations = sequences[0].operations
    session = Session(EchoAgain(sequences[0]), Flaky(start, sequences[0], wrong, cause, field))
    return session.settle(operations, session.play(operations, 0), 0)


def test_what_vanishes_with_a_cause_is_a_disturbance() -> None:
    assert settle({1}, "khugepaged") == (None, {"khugepaged"})


def test_a_count_that_never_differs_again_is_a_disturbance() -> None:
    assert settle({1}) == (None, {ONCE})


@pytest.mark.parametrize("again", range(3, TRIES + 3))
def test_what_shows_twice_without_a_cause_is_a_difference(again: int) -> None:
    difference, causes = settle({1, again})
    assert difference is not None
    assert difference.field == "minflt"
    assert not causes


@pytest.mark.parametrize("field", sorted(PROGRAM_SEES - {"data", "maps"}))
def test_what_a_program_sees_is_a_difference_even_once(field: str) -> None:
    difference, causes = settle({1}, field=field)
    assert difference is not None
    assert difference.field == field
    assert not causes


def test_the_program_sees_all_but_counts() -> None:
    assert frozenset(Outcome._fields) - PROGRAM_SEES == {"minflt", "majflt"}


@pytest.mark.parametrize("cause", ["", "khugepaged"])
def test_what_shows_again_is_a_difference_whatever_was_going_on(cause: str) -> None:
    difference, _ = settle(range(1, TRIES + 2), cause)
    assert difference is not None
    assert difference.step == 0


def test_without_a_difference_nothing_is_played_again() -> None:
    assert settle((), "khugepaged") == (None, frozenset())


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
