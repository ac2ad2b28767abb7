# SPDX-License-Identifier: LGPL-2.1-or-later
"""Figures over time: resident memory of one or more replays, with the events worth a mark."""

from __future__ import annotations

from memtwin.pictures.canvas import Canvas
from memtwin.units import format_size
from memtwin.views import TimelineView

_WIDTH, _HEIGHT, _LEFT, _TOP = 760, 220, 90, 34
_KINDS = ("live", "swapped", "fastbin", "mmapped")  # of the series, in turn


def timeline(view: TimelineView) -> str:
    """One step line a series; the vertical axis begins at 0."""
    points = [point for series in view.series.values() for point in series]
    last = max((time for time, _ in points), default=1) or 1
    most = max((size for _, size in points), default=1) or 1
    sheet = Canvas(_LEFT + _WIDTH + 30, _TOP + _HEIGHT + 56, "Memory over time", _described(view))
    for part in range(5):
        y = _TOP + _HEIGHT * (1 - part / 4)
        sheet.line(_LEFT, y, _LEFT + _WIDTH, y)
        sheet.say(_LEFT - 6, y + 4, format_size(int(most * part / 4)), size=10, anchor="end", faint=True)
    for kind, series in zip(_KINDS, view.series.values(), strict=False):
        for (start, size), (end, _) in zip(series, [*series[1:], (last, 0.0)], strict=True):
            tall = _HEIGHT * size / most
            sheet.box(_LEFT + _WIDTH * start / last, _TOP + _HEIGHT - tall, _WIDTH * (end - start) / last, 2.5, kind,
                      f"{start:g} {view.unit}: {format_size(int(size))}")  # fmt: skip
    for event in view.events:
        x = _LEFT + _WIDTH * event.step / last
        sheet.line(x, _TOP, x, _TOP + _HEIGHT)
        sheet.say(x + 2, _TOP + 10, event.kind, size=9, faint=True)
    sheet.say(_LEFT + _WIDTH, _TOP + _HEIGHT + 16, f"{last:g} {view.unit}", size=10, anchor="end", faint=True)
    sheet.legend(_LEFT, _TOP + _HEIGHT + 40, dict(zip(_KINDS, view.series, strict=False)))
    return sheet.svg()


def _described(view: TimelineView) -> str:
    return "; ".join(
        f"{name}: at most {format_size(int(max((size for _, size in series), default=0)))}"
        for name, series in view.series.items()
    )
