# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Transparent huge pages of anonymous memory (mm/huge_memory.c).

Where a last-level table would be needed and the VMA wants huge pages, one fault maps a whole huge page: of zeros for a
read, a folio of its own for a write. Here such a page is a table that is filled with its pages' entries and marked
(HUGE_TABLE), so that splitting it takes away the mark. khugepaged, which makes huge pages of small ones later, is left
out, and so are huge pages of files.
"""

from __future__ import annotations

import cython

from memtwin.kernel.folio import Folio
from memtwin.kernel.mm import Mm
from memtwin.kernel.vma import Vma

if not cython.compiled:
    from memtwin.hostmem import fill, load16, load64, store16, store32, store64
    from memtwin.kernel.anon import prepare_anon
    from memtwin.kernel.flags import (
        EVENT_HUGE,
        FRAME_ANON,
        FRAME_EXCLUSIVE,
        FRAME_HUGE,
        FRAME_SWAPCACHE,
        NO_FRAME,
        PTE_ACCESSED,
        PTE_DIRTY,
        PTE_PRESENT,
        PTE_USER,
        PTE_WRITABLE,
        PTE_ZERO,
        SIGKILL,
        TOUCHED,
    )
    from memtwin.kernel.frames import born
    from memtwin.kernel.policies.policy import ANON
    from memtwin.memory import READ, WRITE


def huge_fault(mm: Mm, vma: Vma, address: int, access: int) -> int:
    """A fault where not even a table is: 0 when a huge page is mapped now, -1 when small ones have to do.

    An AnonVma is there afterwards even for a read, as do_huge_pmd_anonymous_page has it.
    """
    if not mm.wants_huge(vma):
        return -1
    start = address & ~(mm.huge_size - 1)
    if start < vma.start or start + mm.huge_size > vma.end:
        return -1
    if mm.pages.make(start) == 0:
        return SIGKILL << 8
    prepare_anon(mm, vma)
    if access != WRITE:
        map_zeros(mm, start)
    elif not map_huge(mm, vma, start):
        return -1
    mm.pages.set_huge(start)
    mm.min_flt += 1
    return 0


def map_zeros(mm: Mm, start: int) -> None:
    """The huge page of zeros, which is nobody's."""
    table = mm.pages.find(start)
    pte = mm.zero_pfn << mm.page_shift | PTE_PRESENT | PTE_USER | PTE_ACCESSED | PTE_ZERO
    for i in range(1 << mm.pages.bits):
        store64(table + 8 * i, pte)
    if mm.owns(start):
        fill(mm.slot(start), READ, 1 << mm.pages.bits)


def map_huge(mm: Mm, vma: Vma, start: int) -> bool:
    """A new folio's pages in the table for `start`, writable; False when there is no block so large.

    Nor is one taken where memory would be short afterwards: small pages have to do then (thp_fault_fallback).
    """
    frames = mm.frames
    count = 1 << mm.pages.bits
    if frames.free < frames.low + count or mm.group.usage + count > mm.group.limit:
        return False
    pfn = frames.alloc(mm.pages.bits) if mm.pages.bits <= 10 else NO_FRAME
    if pfn == NO_FRAME:
        return False
    if frames.observed:
        mm.tell(EVENT_HUGE, start, start + mm.huge_size, pfn, 0)
    table = mm.pages.find(start)
    index = vma.page_offset(start, mm.page_shift)
    pte = pfn << mm.page_shift | PTE_PRESENT | PTE_WRITABLE | PTE_USER | PTE_ACCESSED | PTE_DIRTY
    for i in range(count):
        store64(table + 8 * i, pte + (i << mm.page_shift))
        store32(frames.mapped_at + 4 * (pfn + i), 1)
        store16(frames.flags_at + 2 * (pfn + i), FRAME_ANON | FRAME_EXCLUSIVE | FRAME_HUGE)
        store32(frames.owner_at + 4 * (pfn + i), vma.anon.number)
        store64(frames.index_at + 8 * (pfn + i), index + i)
        born(frames, mm.group, pfn + i, ANON)
    frames.folios[pfn] = Folio()
    mm.folio_add(pfn, 1)
    if mm.owns(start):
        fill(mm.slot(start), READ | TOUCHED, count)
    mm.anon_pages += count
    return True


def huge_write(mm: Mm, vma: Vma, address: int) -> bool:
    """A write to a huge page that is mapped read-only; False when it has been split for single pages to be copied."""
    start = address & ~(mm.huge_size - 1)
    pte = load64(mm.pages.find(start))
    if pte & PTE_ZERO:
        if map_huge(mm, vma, start):
            mm.min_flt += 1
            return True
    else:
        pfn = pte >> mm.page_shift
        folio = mm.folio_of(pfn)
        if folio.count == 1 or load16(mm.frames.flags_at + 2 * pfn) & FRAME_EXCLUSIVE:
            own_huge(mm, start)
            mm.min_flt += 1
            return True
    mm.split_huge(address)
    return False


def own_huge(mm: Mm, start: int) -> None:
    """The only mapping of a folio becomes writable."""
    table = mm.pages.find(start)
    mm.mark_huge(start, PTE_WRITABLE | PTE_ACCESSED | PTE_DIRTY)
    for i in range(1 << mm.pages.bits):
        pte = load64(table + 8 * i)
        flags_at = mm.frames.flags_at + 2 * (pte >> mm.page_shift)
        store16(flags_at, load16(flags_at) | FRAME_EXCLUSIVE)
        mm.grant(start + (i << mm.page_shift), pte)


def reusable_frame(mm: Mm, pfn: int) -> bool:
    """Whether a write may keep an anonymous page that was shared by fork (wp_can_reuse_anon_folio).

    A page of a folio: when all mappings of the whole folio are this address space's, and more than one is left.
    """
    if load16(mm.frames.flags_at + 2 * pfn) & FRAME_HUGE:
        folio = mm.folio_of(pfn)
        return folio.count > 1 and not folio.shared
    if mm.frames.mapped(pfn) != 1:
        return False
    return not load16(mm.frames.flags_at + 2 * pfn) & FRAME_SWAPCACHE or mm.swap.uncache(pfn)
