# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reserved huge pages on the twin and on the real kernel: hand-made cases and random operations.

The real kernel needs a pool, which is the whole machine's: on request (see huge_pool). What it made of the same cases
and of some random sequences is kept in a golden file, which is compared always.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.verify.huge_pool import PAGES, huge_pool, on_request

from memtwin.verify.golden import Playback, Recorded, read_golden
from memtwin.verify.host import Host, Start
from memtwin.verify.operations import parse_script
from memtwin.verify.run import verify_sequences
from memtwin.verify.scene import Scene
from memtwin.verify.session import Session
from memtwin.verify.twin import KernelTwin

CASES = sorted((Path(__file__).parent / "huge_cases").glob("*.ops"))
GOLDEN = sorted((Path(__file__).resolve().parents[1] / "golden").glob("huge-*.json.gz"))
OPERATIONS = 50_000


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with huge_pool(), Scene() as scene:
        host = Host(scene, huge=True)
        yield Session(KernelTwin(huge_pages=PAGES), host, huge=True)
        host.close()


@on_request
@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_a_table_of_cases(session: Session, case: Path) -> None:
    operations = parse_script(case.read_text())
    difference, _ = session.settle(operations, session.play(operations))
    assert difference is None, str(difference)


@on_request
def test_random_operations(session: Session, random_seed: str) -> None:
    report = verify_sequences(session, random_seed, OPERATIONS, most_differences=1)
    for found in report.differences:
        print(found.seed, found.text, found.script, sep="\n")
    assert not report.differences
    assert report.operations >= OPERATIONS
    print(f"{report.operations} operations {report.counts}, disturbed {report.disturbed}")


@pytest.fixture
def random_seed() -> str:
    """A new seed each time, printed."""
    import random

    seed = f"{random.SystemRandom().randrange(1 << 32):x}"
    print(f"seed {seed}")
    return seed


def recorded() -> list[tuple[Start, Recorded]]:
    """All sequences of all golden files."""
    found = []
    for path in GOLDEN:
        _, start, sequences = read_golden(path)
        found += [(start, sequence) for sequence in sequences]
    return found


def test_as_recorded() -> None:
    played = recorded()
    assert {case.stem for case in CASES} <= {sequence.seed for _, sequence in played}
    assert len(played) >= len(CASES) + 10
    for start, sequence in played:
        session = Session(KernelTwin(huge_pages=PAGES), Playback(start, sequence), huge=True)
        difference = session.play(sequence.operations, sequence.observe_every)
        assert difference is None, f"{sequence.seed}: {difference}"


def test_the_cases_are_those_that_were_recorded() -> None:
    by_name = {sequence.seed: sequence for _, sequence in recorded()}
    for case in CASES:
        assert by_name[case.stem].operations == parse_script(case.read_text()), f"{case}: scripts/make-golden-huge anew"


def test_a_pool_that_promises_too_much_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check can fail: with a page more in the twin's pool than was in the host's, the cases differ."""
    start, sequence = next(one for one in recorded() if one[1].seed == "reserve")
    session = Session(KernelTwin(huge_pages=PAGES + 1), Playback(start, sequence), huge=True)
    difference = session.play(sequence.operations, sequence.observe_every)
    assert difference is not None
    assert difference.field in ("result", "HugePages_Total")
