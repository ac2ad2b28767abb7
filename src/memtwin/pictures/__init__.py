# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pictures: pure functions from a view (memtwin.views) to SVG text, with `before` to frame what changed since, and
`language` ("en" or "ko") for what is written on them and read out.

A view knows its picture, `draw(view)` or `view.svg()`, and its table, `table(view)` or `rich.print(view)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from memtwin import views
from memtwin.errors import UserError
from memtwin.pictures import tables
from memtwin.pictures.buddy import buddy
from memtwin.pictures.bytes import layout, word
from memtwin.pictures.canvas import below, beside
from memtwin.pictures.frames import frames_grid, swap_map
from memtwin.pictures.heap import bins, heap_strip, tcache
from memtwin.pictures.paging import copy_on_write, page_table, paging
from memtwin.pictures.space import address_space, moving_break, regions
from memtwin.pictures.timeline import events, timeline
from memtwin.pictures.translation import table_walk, tlb

if TYPE_CHECKING:
    from rich.table import Table

__all__ = [
    "address_space", "below", "beside", "bins", "buddy", "copy_on_write", "draw", "events",
    "frames_grid", "heap_strip", "layout", "moving_break", "page_table", "paging", "regions", "swap_map", "table",
    "table_walk", "tcache", "timeline", "tlb", "word",
]  # fmt: skip

# view -> its picture, its table
_WAYS: dict[type, tuple[Callable[..., str], Callable[..., Table]]] = {
    views.AddressSpaceView: (address_space, tables.address_space),
    views.BuddyView: (buddy, tables.buddy),
    views.EventsView: (events, tables.events),
    views.FramesView: (frames_grid, tables.frames),
    views.HeapView: (heap_strip, tables.heap),
    views.LayoutView: (layout, tables.layout),
    views.PagesView: (page_table, tables.pages),
    views.PagingView: (paging, tables.paging),
    views.SwapView: (swap_map, tables.swap),
    views.TimelineView: (timeline, tables.timeline),
    views.TlbView: (tlb, tables.tlb),
    views.WalkView: (table_walk, tables.walk),
    views.WordView: (word, tables.word),
}


def draw(view: Any, before: Any = None, language: str = "en") -> str:
    """The picture of a view, or of the pages of two processes given as a tuple, as SVG text.

    before: an earlier view of the same kind, to frame what changed since; language: "en" or "ko". UserError: nothing
    that can be drawn, or another language.
    """
    picture = page_table if type(view) is tuple else _WAYS.get(type(view), (None,))[0]
    if picture is None or (before is not None and type(before) is not type(view)):
        raise UserError(f"{view!r:.60} cannot be drawn{'' if picture is None else f' beside {before!r:.60}'}")
    return picture(view, before, language)


def table(view: Any) -> Table:
    """A view as a table for rich. UserError: no view."""
    if type(view) not in _WAYS:
        raise UserError(f"{view!r:.60} is no view")
    return _WAYS[type(view)][1](view)
