# SPDX-License-Identifier: LGPL-2.1-or-later
"""The buddy allocator: free blocks by order, and how memory is cut into them."""

from __future__ import annotations

from memtwin.pictures.canvas import Canvas
from memtwin.views import BuddyView

_WIDTH, _LEFT = 768, 80


def buddy(view: BuddyView, before: BuddyView | None = None) -> str:
    """One row an order: every free block at its place in memory, so that a split shows as one block that becomes two
    half as long a row below, and a merge as the way back. Blocks that are new since `before` are framed, those that
    were there then are dashed. The last row is the whole memory: free blocks, and between them what is in use."""
    orders = len(view.free)
    free = sum(len(blocks) << order for order, blocks in enumerate(view.free))
    sheet = Canvas(_WIDTH + _LEFT + 70, 92 + 24 * orders, f"Buddy allocator: {free} of {view.total} frames free",
                   ", ".join(f"order {order}: {len(blocks)}" for order, blocks in enumerate(view.free)))  # fmt: skip
    scale = _WIDTH / max(view.total, 1)
    sheet.say(_LEFT + _WIDTH + 10, 28, "free blocks", size=9, faint=True)
    for row, order in enumerate(reversed(range(orders))):
        y = 34 + 24 * row
        new, old = set(view.free[order]), _blocks(before, order)
        frames = 1 << order
        sheet.say(_LEFT - 10, y + 14, f"{frames} frame{'' if frames == 1 else 's'}", size=10, anchor="end")
        sheet.say(_LEFT + _WIDTH + 14, y + 14, f"{len(new)}", size=10, mono=True)
        sheet.line(_LEFT, y + 20, _LEFT + _WIDTH, y + 20)
        for first in sorted(old - new) if before else ():
            sheet.box(
                _LEFT + first * scale, y, frames * scale, 18, "gap", f"frames {first} to {first + frames - 1} were free"
            )
        for first in view.free[order]:
            _block(sheet, first, order, scale, y, before is not None and first not in old)
    _memory(sheet, view, scale, 44 + 24 * orders)
    return sheet.svg()


def _blocks(view: BuddyView | None, order: int) -> set[int]:
    return set(view.free[order]) if view is not None and order < len(view.free) else set()


def _block(sheet: Canvas, first: int, order: int, scale: float, y: float, changed: bool) -> None:
    last = first + (1 << order) - 1
    wide = (1 << order) * scale
    sheet.box(_LEFT + first * scale, y, wide, 18, "table", f"frames {first} to {last} free: order {order}", changed)
    sheet.fit(_LEFT + first * scale, y + 13, wide, f"{first}–{last}" if order else f"{first}", size=9)


def _memory(sheet: Canvas, view: BuddyView, scale: float, y: float) -> None:
    sheet.say(_LEFT - 10, y + 14, "memory", size=10, anchor="end", weight="600")
    sheet.box(_LEFT, y, _WIDTH, 20, "anonymous", "in use")
    for order, blocks in enumerate(view.free):
        for first in blocks:
            sheet.box(
                _LEFT + first * scale, y, (1 << order) * scale, 20, "table", f"free from frame {first}, order {order}"
            )
    sheet.legend(_LEFT, y + 38, {"anonymous": "in use", "table": "free block"})
