# SPDX-License-Identifier: LGPL-2.1-or-later
"""Shrinking keeps what the difference needs, and nothing else."""

from __future__ import annotations

import random

import pytest

from memtwin.verify.operations import Operation
from memtwin.verify.shrink import consistent, shrink


@pytest.mark.parametrize("seed", range(20))
def test_only_the_needed_operations_are_left(seed: int) -> None:
    chosen = random.Random(seed)
    operations = [Operation(0, "munmap", (i, 1)) for i in range(100)]
    needed = set(chosen.sample(operations, chosen.randrange(1, 6)))
    assert set(shrink(operations, lambda rest: needed <= set(rest))) == needed


def test_without_its_fork_a_child_does_nothing() -> None:
    fork, exit_ = Operation(0, "fork", (1,)), Operation(0, "exit", (1,))
    child, grandchild = Operation(1, "fork", (2,)), Operation(2, "nothing", ())
    assert consistent([fork, child, grandchild, exit_]) == [fork, child, grandchild, exit_]
    assert consistent([child, grandchild, exit_]) == []
    assert consistent([fork, fork, exit_, exit_]) == [fork, exit_]


def test_an_orphan_is_reaped_by_the_root() -> None:
    operations = [
        Operation(0, "fork", (1,)),
        Operation(1, "fork", (2,)),
        Operation(0, "exit", (1,)),
        Operation(0, "exit", (2,)),
    ]
    assert consistent(operations) == operations
