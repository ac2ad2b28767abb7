# SPDX-License-Identifier: LGPL-2.1-or-later
"""Over time: figures such as resident memory, with the events worth a mark; and events alone, one lane a kind."""

from __future__ import annotations

from memtwin.languages import Tell
from memtwin.pictures.canvas import Canvas, text_width
from memtwin.pictures.words import in_language
from memtwin.units import format_size
from memtwin.views import Event, EventsView, TimelineView

_WIDTH, _HEIGHT, _LEFT, _TOP = 760, 220, 90, 46
_KINDS = ("live", "swapped", "fastbin", "mmapped")  # of the series, in turn
_LANES = ("live", "swapped", "fastbin", "mmapped", "bin", "tcache", "padding")  # of the kinds of events, in turn
MOST_EVENTS = 2000

Series = tuple[tuple[float, float], ...]


def timeline(view: TimelineView, before: TimelineView | None = None, language: str = "en") -> str:
    """One step line a series; the vertical axis begins at 0. `before` is not compared: time has its own axis."""
    tell = in_language(language)
    points = [point for series in view.series.values() for point in series]
    last = max((time for time, _ in points), default=1) or 1
    most = max((size for _, size in points), default=1) or 1
    sheet = Canvas(_LEFT + _WIDTH + 30, _TOP + _HEIGHT + 56, tell("Memory over time"), _described(view, tell), tell)
    for part in range(5):
        y = _TOP + _HEIGHT * (1 - part / 4)
        sheet.line(_LEFT, y, _LEFT + _WIDTH, y, faint=part > 0)
        sheet.say(_LEFT - 6, y + 4, format_size(int(most * part / 4)), size=10, anchor="end", faint=True)
    _marks(sheet, view.events, last)
    for kind, series in zip(_KINDS, view.series.values(), strict=False):
        _steps(sheet, series, kind, tell.known(view.unit), _WIDTH / last, _HEIGHT / most, last)
    sheet.say(
        _LEFT + _WIDTH, _TOP + _HEIGHT + 16, f"{last:g} {tell.known(view.unit)}", size=10, anchor="end", faint=True
    )
    sheet.legend(_LEFT, _TOP + _HEIGHT + 40, dict(zip(_KINDS, view.series, strict=False)))
    return sheet.svg()


def _steps(sheet: Canvas, series: Series, kind: str, unit: str, wide: float, high: float, last: float) -> None:
    bottom = _TOP + _HEIGHT
    previous = None
    for (start, size), (end, _) in zip(series, [*series[1:], (last, 0.0)], strict=True):
        x, y = _LEFT + wide * start, bottom - high * size
        hover = f"{start:g} {unit}: {format_size(int(size))}"
        sheet.box(x, y - 1.5, wide * (end - start) + 1.5, 3, kind, hover)
        if previous is not None and abs(previous - y) > 2:
            sheet.box(x - 1.5, min(previous, y), 3, abs(previous - y), kind, hover)
        previous = y


def _marks(sheet: Canvas, events: tuple[Event, ...], last: float) -> None:
    """A dotted line for each event; its name where it does not run into the one before."""
    end = float("-inf")
    for event in events:
        x = _LEFT + _WIDTH * event.step / last
        sheet.line(x, _TOP - 4, x, _TOP + _HEIGHT, faint=True)
        name = sheet.tell.known(event.kind)
        wide = text_width(name, 9)
        left = min(x - wide / 2, _LEFT + _WIDTH + 24 - wide)
        if left > end:
            sheet.say(left, _TOP - 8, name, size=9, faint=True)
            end = left + wide + 6


def _described(view: TimelineView, tell: Tell) -> str:
    most = {name: max((size for _, size in series), default=0) for name, series in view.series.items()}
    return "; ".join(
        tell("{name}: at most {size}", name=name, size=format_size(int(size))) for name, size in most.items()
    )


def events(view: EventsView, before: EventsView | None = None, language: str = "en") -> str:
    """Each event a mark at its step, in the lane of its kind; hovering tells its sentence. Events that `before` did
    not have yet are framed."""
    shown, tell = view.events[:MOST_EVENTS], in_language(language)
    kinds = list(dict.fromkeys(event.kind for event in shown))
    counts = {kind: sum(event.kind == kind for event in view.events) for kind in kinds}
    last = max((event.step for event in shown), default=0) or 1
    sheet = Canvas(_LEFT + _WIDTH + 90, 62 + 26 * max(len(kinds), 1), tell("{count} events", count=len(view.events)),
                   "; ".join(f"{tell.known(kind)}: {count}" for kind, count in counts.items()), tell)  # fmt: skip
    known = set(before.events) if before else None
    for row, kind in enumerate(kinds):
        y = 34 + 26 * row
        sheet.say(_LEFT + 26, y + 13, tell.known(kind), size=10, anchor="end")
        sheet.line(_LEFT + 34, y + 10, _LEFT + _WIDTH + 40, y + 10, faint=True)
        sheet.say(_LEFT + _WIDTH + 50, y + 13, str(counts[kind]), size=10, mono=True)
        for event in shown:
            if event.kind == kind:
                x = _LEFT + 36 + (_WIDTH - 4) * event.step / last
                new = known is not None and event not in known
                hover = tell("step {number}: {sentence}", number=event.step, sentence=event.sentence)
                sheet.box(x - 3, y + 2, 6, 16, _LANES[row % len(_LANES)], hover, new)
    if not kinds:
        sheet.say(20, 50, tell("Nothing has happened yet."), faint=True)
    end = tell("step {number}", number=last)
    sheet.say(_LEFT + _WIDTH + 40, 52 + 26 * max(len(kinds), 1), end, size=9, anchor="end", faint=True)
    return sheet.svg()
