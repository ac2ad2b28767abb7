# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""The tunable hugetlb: what it makes of the allocator's parameters before the first call (do_set_hugetlb)."""

from __future__ import annotations

import cython

from memtwin.libc.state import State

if not cython.compiled:
    from memtwin.libc.state import MAP_HUGE_SHIFT, MAP_HUGETLB, THP_ALWAYS, THP_MADVISE, THP_NEVER


def set_hugetlb(s: State, value: int) -> None:
    """1 asks for transparent huge pages, 2 maps huge ones, more is their size in bytes."""
    space = s.space
    if value == 0 and s.thp_always:
        s.thp_mode = THP_NEVER
    elif value == 1:
        s.thp_mode = (THP_NEVER, THP_MADVISE, THP_ALWAYS)[space.thp]
        if s.thp_mode == THP_MADVISE or (s.thp_mode == THP_ALWAYS and s.thp_always):
            s.thp_pagesize = space.huge_size
    elif value >= 2:
        s.hp_pagesize = space.huge_size if value == 2 else value if value in space.profile.huge_sizes else 0
        shift = s.hp_pagesize.bit_length() - 1
        s.hp_flags = MAP_HUGETLB | shift << MAP_HUGE_SHIFT if s.hp_pagesize else 0


def begin_huge(s: State, threshold_is_set: bool) -> None:
    """After the tunables: with huge pages to map, the main arena has no break, and an mmap threshold of its own."""
    if s.hp_pagesize == 0 or (s.fixed_heap_max and s.hp_pagesize > s.heap_max):
        return
    s.morecore_fails = True
    if not s.fixed_heap_max:
        s.heap_max = 4 * s.hp_pagesize
    if s.mmap_threshold_of_huge and not threshold_is_set:
        s.mmap_threshold = s.hp_pagesize
        s.no_dyn_threshold = True
