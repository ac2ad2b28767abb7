# SPDX-License-Identifier: LGPL-2.1-or-later
"""The buddy allocator: free blocks by order, and how memory is cut into them."""

from __future__ import annotations

from memtwin.pictures.canvas import Canvas
from memtwin.views import BuddyView

_WIDTH = 768


def buddy(view: BuddyView, before: BuddyView | None = None) -> str:
    """One row an order: every free block at its place in memory, so that a split shows as one block that becomes two
    half as long a row below. Blocks that are new since `before` are framed; what is not free is left blank."""
    orders = len(view.free)
    free = sum(len(blocks) << order for order, blocks in enumerate(view.free))
    sheet = Canvas(_WIDTH + 130, 60 + 24 * orders, f"Buddy allocator: {free} of {view.total} frames free",
                   ", ".join(f"order {order}: {len(blocks)}" for order, blocks in enumerate(view.free)))  # fmt: skip
    scale = _WIDTH / max(view.total, 1)
    for row, order in enumerate(reversed(range(orders))):
        y = 34 + 24 * row
        old = set(before.free[order]) if before and order < len(before.free) else None
        sheet.say(70, y + 14, f"order {order}", size=10, anchor="end")
        sheet.say(_WIDTH + 94, y + 14, f"{len(view.free[order])}", size=10, mono=True)
        sheet.line(80, y + 20, 80 + _WIDTH, y + 20)
        for first in view.free[order]:
            hover = f"frames {first} to {first + (1 << order) - 1} free: order {order}"
            changed = old is not None and first not in old
            sheet.box(80 + first * scale, y, (1 << order) * scale, 18, "table", hover, changed)
    return sheet.svg()
