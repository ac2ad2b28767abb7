# SPDX-License-Identifier: LGPL-2.1-or-later
"""What lies where: the frames of RAM with their owners, and the slots of the swap device."""

from __future__ import annotations

from memtwin.pictures.canvas import Canvas
from memtwin.views import Frame, FramesView, SwapView

_KINDS = {"free": "free", "anonymous": "anonymous", "file": "file", "shared": "shared", "table": "page table",
          "zero": "zero page", "kernel": "kernel"}  # fmt: skip
_COLUMNS, _CELL, _LEFT = 32, 18, 52
_WIDTH = _LEFT + 20 + _COLUMNS * _CELL
MOST_ROWS = 32  # a picture shows the first so many rows; its title says how many there are


def frames_grid(view: FramesView, before: FramesView | None = None) -> str:
    """Each frame a cell: its colour says what it holds, a number how many map it. Changed frames are framed."""
    shown = view.frames[: _COLUMNS * MOST_ROWS]
    rows = -(-len(shown) // _COLUMNS)
    height = 66 + rows * _CELL
    sheet = Canvas(_WIDTH, height, f"{view.total - view.free} of {view.total} frames in use", _described(view))
    old = {frame.number: frame for frame in before.frames} if before else {}
    for place, frame in enumerate(shown):
        x, y = _place(sheet, place, frame.number)
        changed = before is not None and old.get(frame.number) != frame
        sheet.box(x, y, _CELL - 2, _CELL - 2, frame.kind, _hover(frame), changed, key=f"frame {frame.number}")
        if len(frame.owners) > 1:
            sheet.say(x + 8, y + 12, str(len(frame.owners)), size=10, anchor="middle")
    kinds = {frame.kind for frame in shown}
    sheet.legend(_LEFT, height - 12, {kind: name for kind, name in _KINDS.items() if kind in kinds})
    return sheet.svg()


def _place(sheet: Canvas, place: int, number: int) -> tuple[float, float]:
    """Where a cell lies; the first of each row gets its number in front."""
    x, y = _LEFT + place % _COLUMNS * _CELL, 32 + place // _COLUMNS * _CELL
    if place % _COLUMNS == 0:
        sheet.say(_LEFT - 8, y + 12, str(number), size=9, anchor="end", faint=True, mono=True)
    return x, y


def _hover(frame: Frame) -> str:
    owners = ", ".join(f"process {pid} at {address:#x}" for pid, address in frame.owners[:6])
    return f"frame {frame.number}: {_KINDS[frame.kind]}, {frame.references} references{'; ' + owners if owners else ''}"


def _described(view: FramesView) -> str:
    counts: dict[str, int] = {}
    for frame in view.frames:
        counts[frame.kind] = counts.get(frame.kind, 0) + 1
    kinds = ", ".join(f"{count} {_KINDS[kind]}" for kind, count in counts.items())
    return f"{view.free} of {view.total} frames are free; of the first {len(view.frames)}: {kinds or 'none'}"


def swap_map(view: SwapView, before: SwapView | None = None) -> str:
    """The slots of the swap device; a slot in use says whose page lies there."""
    shown = view.owners[: _COLUMNS * MOST_ROWS]
    used = sum(1 for owner in view.owners if owner)
    height = 62 + -(-max(len(shown), 1) // _COLUMNS) * _CELL
    title = f"Swap: {used} of {len(view.owners)} slots in use" if view.owners else "Swap: the machine has none"
    sheet = Canvas(_WIDTH, height, title)
    for slot, owner in enumerate(shown):
        x, y = _place(sheet, slot, slot)
        changed = before is not None and (slot >= len(before.owners) or before.owners[slot] != owner)
        sheet.box(
            x, y, _CELL - 2, _CELL - 2, "swapped" if owner else "free", f"slot {slot}: {owner or 'free'}", changed
        )
    sheet.legend(_LEFT, height - 10, {"swapped": "in use", "free": "free"})
    return sheet.svg()
