# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who comes from whom."""

from __future__ import annotations

from memtwin.trace.family import relate
from memtwin.trace.raw import RawHeader

NOTHING = RawHeader(*[0] * len(RawHeader._fields))


def image(pid: int, start: int, parent: int = 0, born: int = 0, forked_from: int = 0) -> RawHeader:
    return NOTHING._replace(
        pid=pid, start_ns=start, parent_pid=parent, process_start=born or pid, parent_start_ns=forked_from
    )


def kin(*headers: RawHeader) -> list[tuple[str, str, str | None]]:
    return [(one.key, one.origin, one.parent.key if one.parent else None) for one in relate(list(headers))]


def test_a_shell_and_what_it_runs() -> None:
    shell, child, program = image(7, 1), image(9, 2, 7, forked_from=1), image(9, 3, 7)
    assert kin(program, child, shell) == [("7", "start", None), ("9", "fork", "7"), ("9.1", "exec", "9")]


def test_a_fork_after_an_exec_comes_from_the_later_image() -> None:
    assert kin(image(7, 1), image(7, 2), image(9, 3, 7, forked_from=2))[2] == ("9", "fork", "7.1")


def test_a_spawned_child_comes_from_the_image_its_parent_had() -> None:
    assert kin(image(7, 1), image(9, 3, 7), image(7, 5), image(10, 6, 7))[1:] == [
        ("9", "spawn", "7"),
        ("7.1", "exec", "7"),
        ("10", "spawn", "7.1"),
    ]


def test_an_orphan_and_a_child_of_an_unrecorded_fork_are_starts() -> None:
    assert kin(image(9, 3, 1), image(10, 4, 7, forked_from=2)) == [("9", "start", None), ("10", "start", None)]


def test_a_pid_that_is_used_again_is_another_process() -> None:
    assert kin(image(7, 1), image(9, 2, 7, born=2), image(9, 5, 7, born=5)) == [
        ("7", "start", None),
        ("9", "spawn", "7"),
        ("9.1", "spawn", "7"),
    ]


def test_a_fork_child_finds_its_image_when_the_parent_died_first() -> None:
    assert kin(image(7, 1), image(9, 2, 1, forked_from=1))[1] == ("9", "fork", "7")
