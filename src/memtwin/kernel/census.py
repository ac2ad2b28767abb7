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
        FRAME_HUGE,
        FRAME_LAZYFREE,
        FRAME_REFERENCED,
        PTE_ACCESSED,
        PTE_DIRTY,
        PTE_GUARD,
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
        self.swap = self.swap_pss = self.shared_reserved = self.private_reserved = 0

    def add(self, mm: Mm, start: int, end: int, kind: int, locked: bool) -> None:
        """Count the pages of [start, end), a range within one VMA. kind: of those that are not anonymous."""
        at = start
        while at < end:
            table = mm.pages.find(at)
            stop = mm.pages.reach if mm.pages.reach < end else end
            if table:
                before = self.anonymous
                entry_at = mm.pages.entry(at)
                huge = mm.pages.huge and mm.pages.is_huge(at)
                while at < stop:
                    pte = load64(entry_at)
                    if pte:
                        self.add_entry(mm, pte, kind, locked)
                    entry_at += 8
                    at += mm.page_size
                if huge:
                    self.huge += self.anonymous - before
            at = stop

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
        dirty = pte & PTE_DIRTY or flags & FRAME_DIRTY or (flags & FRAME_HUGE and mm.folio_of(pfn).dirty)
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
        self.add_shared(size, count > 1, bool(dirty))

    def add_reserved(self, mm: Mm, start: int, end: int) -> None:
        """Count the reserved huge pages of [start, end), a VMA of them (smaps_hugetlb_range)."""
        at = start
        while at < end:
            entry_at = mm.pages.reserved_at(at)
            size = mm.pages.reach - at if mm.pages.reach < end else end - at
            if entry_at:
                pte = load64(entry_at)
                mapped = load32(mm.frames.mapped_at + 4 * (pte >> mm.page_shift))
                if mapped > 1:
                    self.shared_reserved += size
                else:
                    self.private_reserved += size
            at += size

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
        reserved = table == 0 and mm.pages.reserved != 0 and mm.pages.reserved_at(at) != 0
        huge = table and mm.pages.huge and mm.pages.is_huge(at)
        while at < stop:
            pte = mm.pages.pte(at) if table or reserved else 0
            store64(room, pagemap_entry(mm, pte, huge))
            room += 8
            at += mm.page_size


def pagemap_entry(mm: Mm, pte: int, huge: bool) -> int:
    """The pagemap entry for a PTE (pte_to_pagemap_entry), one of a huge page if `huge`.

    As on Linux the huge zero page looks like a file's, and all of a huge page as exclusive as its first page is
    (pagemap_pmd_range).
    """
    if pte & PTE_SWAP:
        return PM_SWAP | (pte >> mm.page_shift << SWAP_TYPE_BITS)
    if pte & PTE_GUARD and not pte & PTE_MAPPED:
        return PM_SWAP | PM_GUARD
    if not pte & PTE_MAPPED:
        return 0
    pfn = pte >> mm.page_shift
    entry = PM_PRESENT | pfn
    if pte & PTE_ZERO:
        return entry | PM_FILE if huge else entry
    if not load16(mm.frames.flags_at + 2 * pfn) & FRAME_ANON:
        entry |= PM_FILE
    if huge:
        pfn &= ~((1 << mm.pages.bits) - 1)
    if load32(mm.frames.mapped_at + 4 * pfn) == 1:
        entry |= PM_EXCLUSIVE
    return entry
