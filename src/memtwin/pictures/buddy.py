# SPDX-License-Identifier: LGPL-2.1-or-later
"""The buddy allocator: free blocks by order, and how memory is cut into them."""

from __future__ import annotations

from memtwin.pictures.canvas import Canvas
from memtwin.pictures.words import in_language
from memtwin.views import BuddyView

_WIDTH, _LEFT = 768, 80
_SMALL = 5  # orders below this are small: blocks that could not be seen beside 1,024 frames
_SMALLEST_PART = 64  # frames


def buddy(view: BuddyView, before: BuddyView | None = None, language: str = "en") -> str:
    """One row an order: every free block at its place in memory, so that a split shows as one block that becomes two
    half as long a row below, and a merge as the way back. Blocks that are new since `before` are framed, those that
    were there then are dashed. Of a large memory the rows show the part with the small blocks, the last row all of it:
    free blocks, and between them what is in use."""
    orders, tell = len(view.free), in_language(language)
    free = sum(len(blocks) << order for order, blocks in enumerate(view.free))
    start, size = _part(view, before)
    title = tell("Buddy allocator: {free} of {total} frames free", free=free, total=view.total)
    if size != view.total:
        title += tell("; the rows show frames {first} to {last}", first=start, last=start + size - 1)
    described = (tell("order {order}: {count}", order=k, count=len(blocks)) for k, blocks in enumerate(view.free))
    sheet = Canvas(_WIDTH + _LEFT + 70, 92 + 24 * orders, title, ", ".join(described), tell)
    rows = _Rows(sheet, start, size)
    sheet.say(_LEFT + _WIDTH + 10, 28, tell("free blocks"), size=9, faint=True)
    for row, order in enumerate(reversed(range(orders))):
        y = 34 + 24 * row
        new, old = set(view.free[order]), _blocks(before, order)
        frames = 1 << order
        size_said = tell("{count} frame" if frames == 1 else "{count} frames", count=frames)
        sheet.say(_LEFT - 10, y + 14, size_said, size=10, anchor="end")
        sheet.say(_LEFT + _WIDTH + 14, y + 14, f"{len(new)}", size=10, mono=True)
        sheet.line(_LEFT, y + 20, _LEFT + _WIDTH, y + 20)
        for first in sorted(old - new) if before else ():
            hover = tell("frames {first} to {last} were free", first=first, last=first + frames - 1)
            rows.block(first, order, y, "gap", hover, False)
        for first in view.free[order]:
            last = first + frames - 1
            hover = tell("frames {first} to {last} free: order {order}", first=first, last=last, order=order)
            rows.block(first, order, y, "table", hover, before is not None and first not in old)
    _memory(sheet, view, 44 + 24 * orders)
    return sheet.svg()


def _part(view: BuddyView, before: BuddyView | None) -> tuple[int, int]:
    """(first frame, frames) of the aligned part of memory, a power of two, that has all small free blocks."""
    small = [
        (first, first + (1 << order))
        for seen in (view, before or view)
        for order, blocks in enumerate(seen.free[:_SMALL])
        for first in blocks
    ]
    size, low, high = _SMALLEST_PART, min(small, default=(0, 0))[0], max((end for _, end in small), default=1)
    while low // size != (high - 1) // size:
        size *= 2
    return (0, view.total) if size * 2 > view.total else (low // size * size, size)


def _blocks(view: BuddyView | None, order: int) -> set[int]:
    return set(view.free[order]) if view is not None and order < len(view.free) else set()


class _Rows:
    """The rows of a picture: frames from `start` on, `size` of them as wide as the sheet allows."""

    def __init__(self, sheet: Canvas, start: int, size: int) -> None:
        self.sheet, self.start, self.size = sheet, start, size
        self.scale = _WIDTH / max(size, 1)

    def block(self, first: int, order: int, y: float, kind: str, hover: str, changed: bool) -> None:
        """A block at its place, when it lies in this part of memory."""
        if self.start <= first < self.start + self.size:
            x, wide = _LEFT + (first - self.start) * self.scale, (1 << order) * self.scale
            self.sheet.box(x, y, wide, 18, kind, hover, changed)
            self.sheet.fit(x, y + 13, wide, f"{first}–{first + (1 << order) - 1}" if order else f"{first}", size=9)


def _memory(sheet: Canvas, view: BuddyView, y: float) -> None:
    scale, tell = _WIDTH / max(view.total, 1), sheet.tell
    sheet.say(_LEFT - 10, y + 14, tell("memory"), size=10, anchor="end", weight="600")
    sheet.box(_LEFT, y, _WIDTH, 20, "anonymous", tell("in use"))
    for order, blocks in enumerate(view.free):
        for first in blocks:
            hover = tell("free from frame {frame}, order {order}", frame=first, order=order)
            sheet.box(_LEFT + first * scale, y, (1 << order) * scale, 20, "table", hover)
    sheet.legend(_LEFT, y + 38, {"anonymous": tell("in use"), "table": tell("free block")})
