# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""What the pages of a range add up to, and their pagemap entries: the walks behind smaps and pagemap (task_mmu.c)."""

from __future__ import annotations

import cython

from memtwin.kernel.mm import Mm

if not cython.compiled:
    from memtwin.hostmem import load16, load32, load64, store64
    from memtwin.kernel.flags import (
        FRAME_ANON,
        FRAME_DIRTY,
        FRAME_LAZYFREE,
        FRAME_REFERENCED,
        PTE_ACCESSED,
        PTE_DIRTY,
        PTE_GUARD,
        PTE_HUGE,
        PTE_MAPPED,
        PTE_SWAP,
        PTE_ZERO,
    )

    PSS_SHIFT = 12
    FILE_KIND, SHMEM_KIND = 0, 1
    PM_PRESENT, PM_SWAP, PM_FILE, PM_GUARD, PM_EXCLUSIVE = 1 << 63, 1 << 62, 1 << 61, 1 << 58, 1 << 56
    SWAP_TYPE_BITS = 5


class Census:
    """Sums over pages, in bytes; those named pss in units of 1/4096 byte, each page divided by its map count, cut off.

    A page counts as shared when more than one PTE maps it, be they of one process. The zero pages count nowhere.
    """

    def __init__(self) -> None:
        self.resident = self.anonymous = self.huge = self.huge_file = self.lazyfree = self.referenced = 0
        self.pss = self.pss_dirty = self.pss_anon = self.pss_file = self.pss_shmem = self.pss_locked = 0
        self.shared_clean = self.shared_dirty = self.private_clean = self.private_dirty = 0
        self.swap = self.swap_pss = 0

    def add(self, mm: Mm, start: int, end: int, kind: int, locked: bool) -> None:
        """Count the pages of [start, end), a range within one VMA. kind: of those that are not anonymous."""
        at = start
        while at < end:
            table = mm.pages.find(at)
            stop = mm.pages.reach if mm.pages.reach < end else end
            if table:
                entry_at = mm.pages.entry(at)
                while at < stop:
                    pte = load64(entry_at)
                    if pte:
                        self.add_entry(mm, pte, kind, locked)
                    entry_at += 8
                    at += mm.page_size
            else:
                self.add_huge(mm, at, stop, kind, locked)
            at = stop

    def add_huge(self, mm: Mm, start: int, stop: int, kind: int, locked: bool) -> None:
        """Count [start, stop), which has no last-level table: a huge page perhaps."""
        at = mm.pages.upper(start)
        entry = load64(at) if at else 0
        if not entry & PTE_HUGE or not entry & PTE_MAPPED or entry & PTE_ZERO:
            return
        first = (start & (mm.huge_size - 1)) >> mm.page_shift
        for i in range((stop - start) >> mm.page_shift):
            self.add_entry(mm, entry + ((first + i) << mm.page_shift), kind, locked)
        if load16(mm.frames.flags_at + 2 * (entry >> mm.page_shift)) & FRAME_ANON:
            self.huge += stop - start
        else:
            self.huge_file += stop - start

    def add_entry(self, mm: Mm, pte: int, kind: int, locked: bool) -> None:
        """Count one page (smaps_pte_entry)."""
        if pte & PTE_SWAP:
            self.swap += mm.page_size
            self.swap_pss += (mm.page_size << PSS_SHIFT) // mm.machine.swap_area.references(pte >> mm.page_shift)
            return
        if pte & PTE_ZERO or not pte & PTE_MAPPED:
            return
        size = mm.page_size
        pfn = pte >> mm.page_shift
        flags = load16(mm.frames.flags_at + 2 * pfn)
        count = load32(mm.frames.mapped_at + 4 * pfn)
        part = size << PSS_SHIFT
        if count > 1:
            part = part // count
        dirty = pte & PTE_DIRTY or flags & FRAME_DIRTY
        self.resident += size
        self.pss += part
        if pte & PTE_ACCESSED or flags & FRAME_REFERENCED:
            self.referenced += size
        if flags & FRAME_ANON:
            self.anonymous += size
            self.pss_anon += part
            if flags & FRAME_LAZYFREE and not dirty:
                self.lazyfree += size
        elif kind == SHMEM_KIND:
            self.pss_shmem += part
        else:
            self.pss_file += part
        if locked:
            self.pss_locked += part
        if dirty:
            self.pss_dirty += part
        self.add_shared(size, count > 1, dirty != 0)

    def add_shared(self, size: int, shared: bool, dirty: bool) -> None:
        """Count a page in one of the four kinds."""
        if shared:
            if dirty:
                self.shared_dirty += size
            else:
                self.shared_clean += size
        elif dirty:
            self.private_dirty += size
        else:
            self.private_clean += size


def pagemap_entries(mm: Mm, start: int, pages: int, room: int) -> None:
    """Write the pagemap entries of `pages` pages from `start` to host memory at `room`, 8 bytes each."""
    at = start
    end = start + (pages << mm.page_shift)
    while at < end:
        table = mm.pages.find(at)
        stop = mm.pages.reach if mm.pages.reach < end else end
        upper = 0
        if not table:
            upper_at = mm.pages.upper(at)
            upper = load64(upper_at) if upper_at else 0
            if not upper & PTE_HUGE:
                upper = 0
        while at < stop:
            if table:
                pte = load64(mm.pages.entry(at))
            elif upper:
                pte = upper + (at & (mm.huge_size - 1))
            else:
                pte = 0
            store64(room, pagemap_entry(mm, pte, upper != 0))
            room += 8
            at += mm.page_size


def pagemap_entry(mm: Mm, pte: int, huge: bool) -> int:
    """The pagemap entry for a PTE (pte_to_pagemap_entry). The huge zero page looks like a file's, as on Linux."""
    if pte & PTE_SWAP:
        return PM_SWAP | (pte >> mm.page_shift << SWAP_TYPE_BITS)
    if pte & PTE_GUARD and not pte & PTE_MAPPED:
        return PM_SWAP | PM_GUARD
    if not pte & PTE_MAPPED:
        return 0
    pfn = (pte & 0xFFFFFFFFFFFFF) >> mm.page_shift
    entry = PM_PRESENT | pfn
    if pte & PTE_ZERO:
        return entry | PM_FILE if huge else entry
    if not load16(mm.frames.flags_at + 2 * pfn) & FRAME_ANON:
        entry |= PM_FILE
    if load32(mm.frames.mapped_at + 4 * pfn) == 1:
        entry |= PM_EXCLUSIVE
    return entry
