# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Entries of a page table by what they lead to, for who looks at a process: thousands of pages in a fraction of a
millisecond, where `PageTable.entries` hands each to Python.

Each page has an entry of its own, those of a huge page too (pagetable.py, set_huge).
"""

from __future__ import annotations

import cython

from memtwin.kernel.pagetable import PageTable

if not cython.compiled:
    from memtwin.hostmem import load64


def touched(pages: PageTable, start: int, end: int) -> list[int]:
    """The pages of [start, end) that have an entry, from low to high. start, end: multiples of the page size."""
    found: list[int] = []
    at = start
    page = 1 << pages.page_shift
    while at < end:
        table = pages.find(at)
        stop = pages.reach if pages.reach < end else end
        entry_at = pages.entry(at)
        while table and at < stop:
            if load64(entry_at):
                found.append(at)
            entry_at += 8
            at += page
        at = stop
    return found


def places(pages: PageTable, bits: int, first: int, last: int) -> list[tuple[int, int]]:
    """(address, number) of all entries with one of `bits` set, whose frame or slot is `number` of [first, last)."""
    found: list[tuple[int, int]] = []
    at = 0
    page = 1 << pages.page_shift
    end = page << pages.bits * pages.levels
    while at < end:
        table = pages.find(at)
        stop = pages.reach
        entry_at = pages.entry(at)
        while table and at < stop:
            entry = load64(entry_at)
            number = entry >> pages.page_shift
            if entry & bits and first <= number < last:
                found.append((at, number))
            entry_at += 8
            at += page
        at = stop
    return found
