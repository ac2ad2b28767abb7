# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pictures: pure functions from a view (memtwin.views) to SVG text, with `before` to show what changed."""

from memtwin.pictures.buddy import buddy
from memtwin.pictures.canvas import beside
from memtwin.pictures.heap import bins, heap_strip, tcache
from memtwin.pictures.paging import frames_grid, page_table, swap_map, table_walk, tlb, word
from memtwin.pictures.space import address_space, moving_break
from memtwin.pictures.timeline import timeline

__all__ = [
    "address_space", "beside", "bins", "buddy", "frames_grid", "heap_strip", "moving_break", "page_table", "swap_map",
    "table_walk", "tcache", "timeline", "tlb", "word",
]  # fmt: skip
