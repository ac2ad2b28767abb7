# SPDX-License-Identifier: LGPL-2.1-or-later
"""The time line keeps every peak, whatever the length of the trace."""

from __future__ import annotations

import random

import pytest

from memtwin.replay.timeline import TimeLine


@pytest.mark.parametrize("events", [1, 7, 1023, 1024, 1025, 50_000])
def test_every_span_keeps_its_peak(events: int) -> None:
    seed = events
    print(f"seed {seed}")
    rng = random.Random(seed)
    history = [rng.randrange(1 << 40) for _ in range(events)]
    line = TimeLine(events)
    for event, rss in enumerate(history):
        line.add(event, rss, rss // 2)
    points = line.list()
    assert len(points) <= 1024
    ends = [point.event for point in points[1:]] + [events]
    for point, end in zip(points, ends, strict=True):
        assert point.rss_bytes == max(history[point.event : end])
        assert (point.live_bytes, point.last_rss_bytes) == (point.rss_bytes // 2, history[end - 1])
    assert (line.peak, history[line.peak_event]) == (max(history), max(history))


def test_spans_without_news_are_left_out() -> None:
    line = TimeLine(100_000)
    line.add(5, 10, 1)
    line.add(99_999, 20, 2)
    line.add(120_000, 15, 2)  # more events than promised
    assert [(point.rss_bytes, point.last_rss_bytes) for point in line.list()] == [(10, 10), (20, 20), (15, 15)]
    assert (line.peak, line.peak_event) == (20, 99_999)


def test_the_event_that_took_the_memory() -> None:
    line = TimeLine(100)
    for event, rss, own in ((1, 10, 5), (2, 30, 20), (3, 25, 15), (4, 31, 20), (5, 31, 21)):
        line.add(event, rss, 0, own)
    assert (line.peak, line.peak_event, line.taken_event) == (31, 4, 2)
