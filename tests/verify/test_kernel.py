# SPDX-License-Identifier: LGPL-2.1-or-later
"""The twin's kernel against the real one: a slice of random operations, and what a table of cases spells out."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from memtwin.verify.host import Host
from memtwin.verify.operations import parse_script
from memtwin.verify.run import verify_sequences
from memtwin.verify.scene import Scene
from memtwin.verify.session import ONCE, Session
from memtwin.verify.twin import KernelTwin

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="frame numbers and map counts need root")
SLICE_SECONDS = 20.0
CASES = sorted((Path(__file__).parent / "kernel_cases").glob("*.ops"))


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Scene() as scene:
        host = Host(scene)
        yield Session(KernelTwin(), host)
        host.close()


def test_a_slice_of_random_operations(session: Session) -> None:
    seed = f"{random.SystemRandom().randrange(1 << 32):x}"
    print(f"seed {seed}")
    end = time.monotonic() + SLICE_SECONDS
    operations = part = once = 0
    while time.monotonic() < end:
        report = verify_sequences(session, f"{seed}.{part}", 1200, most_differences=1)
        for found in report.differences:
            print(found.seed, found.text, found.script, sep="\n")
        assert not report.differences
        print(report.disturbed)
        once += report.disturbed.get(ONCE, 0)
        operations += report.operations
        part += 1
    print(f"{operations} operations")
    assert operations >= 1200
    assert once <= 1, "seen once in half a million operations beside a busy disk"


def test_each_sequence_begins_with_the_files_first_content(session: Session) -> None:
    """What is stored behind a file's end stays in its page, so the scene clears it."""
    last = "0 mmap 0 0x2000 3 1 file 0x28000\n0 {} 0x7ffff7ff5fff 1 0x1000{}\n"
    for touch, byte in (("load", ""), ("store", " 7"), ("load", "")):
        assert session.play(parse_script(last.format(touch, byte))) is None


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_a_table_of_cases(session: Session, case: Path) -> None:
    operations = parse_script(case.read_text())
    difference, _ = session.settle(operations, session.play(operations))
    assert difference is None, str(difference)


def test_the_tables_are_there() -> None:
    assert {case.stem for case in CASES} >= {"errno", "fault_around", "fork", "huge", "locks", "stack"}
