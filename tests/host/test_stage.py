# SPDX-License-Identifier: LGPL-2.1-or-later
"""The stage itself: what it reports is the commanded operation's alone."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from memtwin.host.stage import (
    NOTHING,
    TOUCH_READ,
    WANT_MAPS,
    Stage,
    StageDied,
    call_command,
    command,
)

PRIVATE_ANONYMOUS = 0x22
READ_WRITE = 3


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as one:
        yield one


def test_doing_nothing_costs_no_fault(stage: Stage) -> None:
    answers = stage.play([command(NOTHING, want=WANT_MAPS)] * 500)
    assert {(a.result, a.minflt, a.majflt) for a in answers} == {(0, 0, 0)}
    assert len({a.maps for a in answers}) == 1


def test_a_touch_reports_its_faults_and_where_it_stopped(stage: Stage) -> None:
    base = stage.call("mmap", 0, 3 * 4096, READ_WRITE, PRIVATE_ANONYMOUS, -1, 0).result
    stage.call("munmap", base + 2 * 4096, 4096)
    stopped = stage.touch_write(base, 3)
    assert (stopped.result, stopped.minflt, stopped.signal, stopped.code) == (2, 2, 11, 1)
    assert stopped.address == base + 2 * 4096
    assert stage.touch_read(base, 2).value == 31 + 1


def test_a_fresh_image_has_the_same_layout_and_no_old_mappings(stage: Stage) -> None:
    first = stage.fresh().maps
    stage.call("mmap", 0, 1 << 20, READ_WRITE, PRIVATE_ANONYMOUS, -1, 0)
    assert stage.fresh().maps == first


def test_descendants_answer_and_end_in_any_order(stage: Stage) -> None:
    base = stage.call("mmap", 0, 4096, READ_WRITE, PRIVATE_ANONYMOUS, -1, 0).result
    stage.touch_write(base)
    assert stage.split(1).result > 0
    assert stage.split(2, process=1).result > 0
    assert [stage.touch_write(base, process=p, byte=p + 5).minflt for p in (2, 1, 0)] == [1, 1, 1]
    assert [stage.touch_read(base, process=p).value for p in range(3)] == [5, 6, 7]
    gone = stage.pids[1]
    assert stage.reap(1).result == gone
    assert stage.touch_read(base, process=2).value == 7
    orphan = stage.pids[2]
    assert stage.reap(2).result == orphan  # its parent is gone: the root inherited it


def test_a_long_batch_is_answered_in_order(stage: Stage) -> None:
    batch = [call_command("madvise", 0, 0, i % 5, want=WANT_MAPS) for i in range(5000)]
    assert [a.result for a in stage.play(batch)] == [0] * 5000


def test_limits_hold_from_the_start() -> None:
    with Stage(limits={resource.RLIMIT_STACK: (128 << 20, 128 << 20)}) as stage:
        base = stage.call("mmap", 0, 4096, READ_WRITE, PRIVATE_ANONYMOUS, -1, 0).result
    assert base < 0x7FFFF7EFF000  # mmap_base leaves room for the stack's limit


def test_a_killed_stage_is_told(stage: Stage) -> None:
    facts = stage.facts
    with pytest.raises(StageDied, match="status"):
        stage.play([call_command("munmap", facts.image_start, facts.image_end - facts.image_start)])


def test_reading_an_unmapped_page_gives_no_value(stage: Stage) -> None:
    (answer,) = stage.play([command(TOUCH_READ, 0x1234, 1, 4096)])
    assert (answer.result, answer.signal, answer.code, answer.address) == (0, 11, 1, 0x1234)
