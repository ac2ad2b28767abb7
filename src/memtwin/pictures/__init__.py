# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pictures: pure functions from a view (memtwin.views) to SVG text, with `before` to frame what changed since.

A view knows its picture: `draw(view)`, and `view.svg()` does the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from memtwin.errors import UserError
from memtwin.pictures.buddy import buddy
from memtwin.pictures.bytes import layout, word
from memtwin.pictures.canvas import below, beside
from memtwin.pictures.frames import frames_grid, swap_map
from memtwin.pictures.heap import bins, heap_strip, tcache
from memtwin.pictures.paging import copy_on_write, page_table, paging
from memtwin.pictures.space import address_space, moving_break, regions
from memtwin.pictures.timeline import events, timeline
from memtwin.pictures.translation import table_walk, tlb
from memtwin.views import (
    AddressSpaceView,
    BuddyView,
    EventsView,
    FramesView,
    HeapView,
    LayoutView,
    PagesView,
    PagingView,
    SwapView,
    TimelineView,
    TlbView,
    WalkView,
    WordView,
)

__all__ = [
    "address_space", "below", "beside", "bins", "buddy", "copy_on_write", "draw", "events", "frames_grid", "heap_strip",
    "layout", "moving_break", "page_table", "paging", "regions", "swap_map", "table_walk", "tcache", "timeline", "tlb",
    "word",
]  # fmt: skip

_PICTURES: dict[type, Callable[..., str]] = {
    AddressSpaceView: address_space, BuddyView: buddy, EventsView: events, FramesView: frames_grid,
    HeapView: heap_strip, LayoutView: layout, PagesView: page_table, PagingView: paging, SwapView: swap_map,
    TimelineView: timeline, TlbView: tlb, WalkView: table_walk, WordView: word, tuple: page_table,
}  # fmt: skip


def draw(view: Any, before: Any = None) -> str:
    """The picture of a view, or of the pages of two processes given as a tuple, as SVG text.

    before: an earlier view of the same kind, to frame what changed since. UserError: nothing that can be drawn.
    """
    picture = _PICTURES.get(type(view))
    if picture is None or (before is not None and type(before) is not type(view)):
        raise UserError(f"{view!r:.60} cannot be drawn{'' if picture is None else f' beside {before!r:.60}'}")
    return picture(view, before)
