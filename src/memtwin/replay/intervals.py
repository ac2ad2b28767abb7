# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sets of addresses as sorted, disjoint ranges, each with the distance by which it lies elsewhere in the twin."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Range(NamedTuple):
    """[start, end) of recorded addresses; `start + shift` is where the twin has it."""

    start: int
    end: int
    shift: int = 0


class Intervals:
    """Disjoint ranges in order of address. Ranges that touch stay apart."""

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._ranges: list[Range] = sorted(ranges)

    def __iter__(self) -> Iterator[Range]:
        return iter(self._ranges)

    def __len__(self) -> int:
        return len(self._ranges)

    def copy(self) -> Intervals:
        """An independent set of the same ranges."""
        return Intervals(self._ranges)

    def _overlapping(self, start: int, end: int) -> slice:
        first = bisect_right(self._ranges, start, key=lambda one: one.end)
        return slice(first, max(first, bisect_left(self._ranges, end, key=lambda one: one.start)))

    def within(self, start: int, end: int) -> list[Range]:
        """The parts of ranges that lie in [start, end)."""
        return [
            Range(max(one.start, start), min(one.end, end), one.shift)
            for one in self._ranges[self._overlapping(start, end)]
        ]

    def remove(self, start: int, end: int) -> list[Range]:
        """Take [start, end) out; the parts that were in it."""
        taken = self.within(start, end)
        where = self._overlapping(start, end)
        rest = []
        for one in self._ranges[where]:
            if one.start < start:
                rest.append(Range(one.start, start, one.shift))
            if one.end > end:
                rest.append(Range(end, one.end, one.shift))
        self._ranges[where] = rest
        return taken

    def add(self, new: Range) -> None:
        """Put a range in, in place of whatever overlaps it."""
        self.remove(new.start, new.end)
        at = bisect_left(self._ranges, new)
        self._ranges.insert(at, new)

    def missing(self, start: int, end: int) -> list[tuple[int, int]]:
        """The parts of [start, end) that no range covers."""
        gaps = []
        for one in self.within(start, end):
            if start < one.start:
                gaps.append((start, one.start))
            start = one.end
        if start < end:
            gaps.append((start, end))
        return gaps
