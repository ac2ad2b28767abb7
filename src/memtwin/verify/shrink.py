# SPDX-License-Identifier: LGPL-2.1-or-later
"""The shortest sequence that still shows a difference: delta debugging (Zeller and Hildebrandt, 2002).

Whole pieces are left out, halves first, single operations last, as long as the rest still differs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from memtwin.verify.operations import Operation


def shrink(
    operations: Sequence[Any],
    differs: Callable[[list[Any]], bool],
    mend: Callable[[Sequence[Any]], list[Any]] | None = None,
) -> list[Any]:
    """The operations without those that the difference does not need.

    differs: plays a sequence on both sides and tells whether it still shows; it is true for `operations`. mend:
    leaves out what makes no sense without what was left out already; by default for operations on the kernel. The
    result is 1-minimal: leaving out any single operation of it makes the difference vanish.
    """
    mend = mend or consistent
    left = list(operations)
    piece = max(len(left) // 2, 1)
    while True:
        shorter = _leave_out(left, piece, differs, mend)
        if len(shorter) < len(left):
            left = shorter
            piece = min(piece, max(len(left) // 2, 1))
        elif piece == 1:
            return left
        else:
            piece = max(piece // 2, 1)


def _leave_out(
    operations: list[Any],
    piece: int,
    differs: Callable[[list[Any]], bool],
    mend: Callable[[Sequence[Any]], list[Any]],
) -> list[Any]:
    """One pass from the end: without each piece that is not needed."""
    left = operations
    for begin in range((len(left) - 1) // piece * piece, -1, -piece):
        rest = mend(left[:begin] + left[begin + piece :])
        if rest and len(rest) < len(left) and differs(rest):
            left = rest
    return left


def consistent(operations: Sequence[Operation]) -> list[Operation]:
    """The operations of processes that exist: without a fork, what its child did is left out as well."""
    parents = {0: 0}
    kept = []
    for operation in operations:
        process, name, arguments = operation
        if process not in parents:
            continue
        if name == "fork":
            if arguments[0] in parents or arguments[0] == 0:
                continue
            parents[arguments[0]] = process
        elif name == "exit":
            child = arguments[0]
            if child == 0 or parents.get(child) != process:
                continue
            del parents[child]
            parents = {one: 0 if parent == child else parent for one, parent in parents.items()}
        kept.append(operation)
    return kept
