# SPDX-License-Identifier: LGPL-2.1-or-later
"""What lies where: the frames of RAM with their owners, and the slots of the swap device."""

from __future__ import annotations

from memtwin.languages import Tell
from memtwin.pictures.canvas import Canvas
from memtwin.pictures.words import in_language, place_of
from memtwin.views import Frame, FramesView, SwapView

_KINDS = {"free": "free", "anonymous": "anonymous", "file": "file", "shared": "shared", "table": "page table",
          "zero": "zero page", "kernel": "kernel"}  # fmt: skip
_COLUMNS, _CELL, _LEFT = 32, 18, 52
_WIDTH = _LEFT + 20 + _COLUMNS * _CELL
MOST_ROWS = 32  # a picture shows the first so many rows; its title says how many there are


def frames_grid(view: FramesView, before: FramesView | None = None, language: str = "en") -> str:
    """Each frame a cell: its colour says what it holds, a number how many map it. Changed frames are framed."""
    shown = view.frames[: _COLUMNS * MOST_ROWS]
    height, tell = 66 + -(-len(shown) // _COLUMNS) * _CELL, in_language(language)
    title = tell("{used} of {total} frames in use", used=view.total - view.free, total=view.total)
    sheet = Canvas(_WIDTH, height, title, _described(view, tell), tell)
    old = {frame.number: frame for frame in before.frames} if before else {}
    for place, frame in enumerate(shown):
        x, y = _place(sheet, place, frame.number)
        changed = before is not None and old.get(frame.number) != frame
        sheet.box(x, y, _CELL - 2, _CELL - 2, frame.kind, _hover(frame, tell), changed, key=f"frame {frame.number}")
        if len(frame.owners) > 1:
            sheet.say(x + 8, y + 12, str(len(frame.owners)), size=10, anchor="middle")
    kinds = {frame.kind for frame in shown}
    sheet.legend(_LEFT, height - 12, {kind: tell(name) for kind, name in _KINDS.items() if kind in kinds})
    return sheet.svg()


def _place(sheet: Canvas, place: int, number: int) -> tuple[float, float]:
    """Where a cell lies; the first of each row gets its number in front."""
    x, y = _LEFT + place % _COLUMNS * _CELL, 32 + place // _COLUMNS * _CELL
    if place % _COLUMNS == 0:
        sheet.say(_LEFT - 8, y + 12, str(number), size=9, anchor="end", faint=True, mono=True)
    return x, y


def _hover(frame: Frame, tell: Tell) -> str:
    said = tell("frame {number}: {kind}, {count} references", number=frame.number, kind=tell(_KINDS[frame.kind]),
                count=frame.references)  # fmt: skip
    return "; ".join((said, ", ".join(place_of(owner, tell) for owner in frame.owners[:6]))) if frame.owners else said


def _described(view: FramesView, tell: Tell) -> str:
    counts: dict[str, int] = {}
    for frame in view.frames:
        counts[frame.kind] = counts.get(frame.kind, 0) + 1
    kinds = ", ".join(tell("{count} {kind}", count=count, kind=tell(_KINDS[kind])) for kind, count in counts.items())
    return tell("{free} of {total} frames are free; of the first {count}: {kinds}", free=view.free, total=view.total,
                count=len(view.frames), kinds=kinds or tell("none"))  # fmt: skip


def swap_map(view: SwapView, before: SwapView | None = None, language: str = "en") -> str:
    """The slots of the swap device; a slot in use says whose page lies there."""
    shown, tell = view.owners[: _COLUMNS * MOST_ROWS], in_language(language)
    height = 62 + -(-max(len(shown), 1) // _COLUMNS) * _CELL
    title = tell("Swap: {used} of {total} slots in use", used=view.used, total=len(view.owners))
    sheet = Canvas(_WIDTH, height, title if view.owners else tell("Swap: the machine has none"), tell=tell)
    for slot, owner in enumerate(shown):
        x, y = _place(sheet, slot, slot)
        changed = before is not None and (slot >= len(before.owners) or before.owners[slot] != owner)
        whose = place_of(owner, tell) if owner else tell("free")
        hover = tell("slot {number}: {owner}", number=slot, owner=whose)
        sheet.box(x, y, _CELL - 2, _CELL - 2, "swapped" if owner else "free", hover, changed)
    sheet.legend(_LEFT, height - 10, {"swapped": tell("in use"), "free": tell("free")})
    return sheet.svg()
