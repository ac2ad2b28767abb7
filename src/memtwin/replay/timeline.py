# SPDX-License-Identifier: LGPL-2.1-or-later
"""RSS and live bytes over a replay, in a bounded number of points, with every peak kept.

The events fall into at most POINTS spans of equal width. A span keeps the highest RSS seen in it, with the live bytes
of that moment, and the last RSS: so no peak is lost however long the trace, and a trough shows when it lasts.

      +-------------+-------------+-------------+-------------+
      |  peak RSS   | live then   |  last RSS   |    seen     |     one point, 4 words; `seen` is 0 in a span
      +-------------+-------------+-------------+-------------+     in which nothing was noted
"""

from __future__ import annotations

from dataclasses import dataclass

import cython

from memtwin.errors import MemtwinError

if not cython.compiled:
    from memtwin.hostmem import load64, release, reserve, store64

    POINTS, POINT_BYTES = 1024, 32


@dataclass(frozen=True, slots=True)
class Point:
    """One span of a time line: `event` is its first event, and the RSS its highest."""

    event: int
    rss_bytes: int
    live_bytes: int
    last_rss_bytes: int
    seconds: float | None = None


class TimeLine:
    """An empty time line for a trace of `events` events; MemtwinError when the host has no memory for its points.

    peak: highest RSS noted; peak_event: the first event after which it was reached. taken_event: the first event after
    which the allocator had as much in RAM as it had then: the one that took the memory, which may be long before.
    """

    def __init__(self, events: int) -> None:
        self.events = events
        self.width = events // POINTS + 1
        self.next = self.width
        self.at = self.peak = self.peak_event = self.taken_event = 0
        self.high = self.high_event = 0
        self.points = reserve(POINTS * POINT_BYTES)
        if not self.points:
            raise MemtwinError("the host gives no memory for a time line")

    def __del__(self) -> None:
        if self.points:
            release(self.points, POINTS * POINT_BYTES)
            self.points = 0

    def note(self, event: int, rss: int, live: int, own: int) -> None:
        """After `event` (numbers never fall) the process has `rss` resident and `live` allocated bytes.

        own: how much of `rss` is the allocator's, in any unit.
        """
        if event >= self.next:
            self.move_on(event)
        if own > self.high:
            self.high = own
            self.high_event = event
        point = self.points + self.at * POINT_BYTES
        if rss > load64(point) or load64(point + 24) == 0:
            store64(point, rss)
            store64(point + 8, live)
            if rss > self.peak:
                self.peak = rss
                self.peak_event = event
                self.taken_event = self.high_event if own == self.high else event
        store64(point + 16, rss)
        store64(point + 24, 1)

    def move_on(self, event: int) -> None:
        """Go to the span of `event`; the last span takes whatever comes after the promised number of events."""
        self.at = event // self.width
        if self.at >= POINTS:
            self.at = POINTS - 1
        self.next = (self.at + 1) * self.width

    def add(self, event: int, rss: int, live: int, own: int = 0) -> None:
        """`note` for callers that are not compiled."""
        self.note(event, rss, live, own)

    def list(self) -> list[Point]:
        """The points in order; spans in which nothing was noted are left out, their RSS is the one before."""
        points = []
        for i in range(POINTS):
            at = self.points + i * POINT_BYTES
            if load64(at + 24):
                points.append(Point(i * self.width, load64(at), load64(at + 8), load64(at + 16)))
        return points
