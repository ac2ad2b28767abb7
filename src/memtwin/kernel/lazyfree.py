# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""MADV_FREE: pages that the kernel may take while they are not written again (mm/madvise.c, madvise_free_pte_range).

They stay mapped, clean; the next write makes a page dirty, without a fault.
"""

from __future__ import annotations

import cython

from memtwin.kernel.mm import Mm
from memtwin.kernel.vma import Vma

if not cython.compiled:
    from memtwin.hostmem import load16, load64, same, store16, store64
    from memtwin.kernel.flags import (
        FRAME_DIRTY,
        FRAME_HUGE,
        FRAME_LAZYFREE,
        PTE_ACCESSED,
        PTE_DIRTY,
        PTE_MAPPED,
        PTE_PRESENT,
        PTE_USER,
        PTE_ZERO,
        VM_LOCKED,
    )


def free_lazily(mm: Mm, vma: Vma, start: int, end: int) -> None:
    """MADV_FREE for a part of one anonymous VMA."""
    address = start
    while address < end:
        table = mm.pages.find(address)
        stop = mm.pages.reach if mm.pages.reach < end else end
        if table == 0 or (mm.pages.huge and mm.pages.is_huge(address) and free_huge(mm, vma, address, stop)):
            address = stop
            continue
        while address < stop:
            at = mm.pages.entry(address)
            pte = load64(at)
            pfn = pte >> mm.page_shift
            if pte & PTE_MAPPED and not pte & PTE_ZERO:
                if load16(mm.frames.flags_at + 2 * pfn) & FRAME_HUGE and not free_large(mm, vma, address, stop, pfn):
                    address += mm.page_size
                    continue
                pte = load64(at)
                if not pte & PTE_ZERO and free_small(mm, pfn):
                    make_lazy(mm, at, address)
            address += mm.page_size


def free_huge(mm: Mm, vma: Vma, start: int, end: int) -> bool:
    """`free_lazily` where a huge page is mapped; False when it is now single pages that remain to be done."""
    table = mm.pages.find(start)
    pte = load64(table)
    if pte & PTE_ZERO or not pte & PTE_MAPPED:
        return True
    pfn = pte >> mm.page_shift
    folio = mm.folio_of(pfn)
    if folio.maybe_shared():
        return True
    if end - start != mm.huge_size:
        mm.split_huge(start)
        split_folio(mm, vma, pfn)
        return False
    folio.dirty = False
    for i in range(1 << mm.pages.bits):
        make_lazy(mm, table + 8 * i, start + (i << mm.page_shift))
    return True


def free_large(mm: Mm, vma: Vma, address: int, end: int, pfn: int) -> bool:
    """A single page of a folio: whether it can be freed lazily, the folio being split if not all of it can."""
    folio = mm.folio_of(pfn)
    pages = 1 << mm.pages.bits
    batch = 0
    while address < end and batch < pages:
        pte = load64(mm.pages.entry(address))
        if not pte & PTE_MAPPED or pte & PTE_ZERO or pte >> mm.page_shift != pfn + batch:
            break
        batch += 1
        address += mm.page_size
    if batch == pages or folio.count == 0:
        return not folio.dirty or folio.count == pages
    if folio.maybe_shared():
        return False
    split_folio(mm, vma, pfn)
    return True


def free_small(mm: Mm, pfn: int) -> bool:
    """Whether a page can be freed lazily: not if it is dirty by itself and someone else maps it too."""
    flags = load16(mm.frames.flags_at + 2 * pfn)
    if flags & FRAME_DIRTY:
        if mm.frames.mapped(pfn) != 1:
            return False
        mm.frames.set_flags(pfn, flags & ~FRAME_DIRTY)
    return True


def make_lazy(mm: Mm, at: int, address: int) -> None:
    """The entry becomes clean and old, its frame lazily freeable."""
    pte = load64(at) & ~(PTE_DIRTY | PTE_ACCESSED)
    store64(at, pte)
    flags_at = mm.frames.flags_at + 2 * (pte >> mm.page_shift)
    store16(flags_at, load16(flags_at) | FRAME_LAZYFREE)
    mm.grant(address, pte)


def split_folio(mm: Mm, vma: Vma, pfn: int) -> None:
    """The folio becomes single pages for good; those full of zeros give way to the zero page, unless locked
    (__folio_split, try_to_map_unused_to_zeropage, 6.12)."""
    count = 1 << mm.pages.bits
    first = pfn & ~(count - 1)
    folio = mm.frames.folios.pop(first)
    for page in range(first, first + count):
        flags = load16(mm.frames.flags_at + 2 * page)
        if flags & FRAME_HUGE:
            mm.frames.set_flags(page, (flags & ~FRAME_HUGE) | (FRAME_DIRTY if folio.dirty else 0))
    address = vma.start
    while address < vma.end:
        at = mm.pages.entry(address)
        if at == 0:
            address = mm.pages.reach
            continue
        pte = load64(at)
        page = pte >> mm.page_shift
        if pte & PTE_MAPPED and not pte & PTE_ZERO and first <= page < first + count:
            flags_at = mm.frames.flags_at + 2 * page
            if pte & PTE_DIRTY:
                store16(flags_at, load16(flags_at) | FRAME_DIRTY)
            if not vma.flags & VM_LOCKED and all_zero(mm, page):
                if mm.unmap(pte, address):
                    mm.frames.give(page, 0)
                pte = mm.zero_pfn << mm.page_shift | pte & PTE_PRESENT | PTE_USER | PTE_ACCESSED | PTE_ZERO
                store64(at, pte)
                mm.grant(address, pte)
        address += mm.page_size


def all_zero(mm: Mm, pfn: int) -> bool:
    """Whether the frame's bytes are all zero."""
    home = mm.frames.home(pfn)
    return home == 0 or (load64(home) == 0 and same(home, home + 8, mm.page_size - 8))
