# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Page faults (mm/memory.c): what an access does that the page table does not grant.

The functions return 0, or what ends the process: signal << 8 | si_code.
"""

from __future__ import annotations

import cython

from memtwin.kernel.mm import Mm
from memtwin.kernel.vma import Vma

if not cython.compiled:
    from memtwin.hostmem import load16, load64, store64
    from memtwin.kernel.anon import new_anon_page, prepare_anon
    from memtwin.kernel.filefault import file_fault, shared_write
    from memtwin.kernel.flags import (
        EVENT_COPY,
        EVENT_DEMAND_ZERO,
        EVENT_FILE_COPY,
        EVENT_REPLACE_ZERO,
        EVENT_REUSE,
        EVENT_ZERO_PAGE,
        FRAME_ANON,
        FRAME_EXCLUSIVE,
        FRAME_FILE,
        NO_FRAME,
        PTE_ACCESSED,
        PTE_DIRTY,
        PTE_GUARD,
        PTE_PRESENT,
        PTE_SWAP,
        PTE_USER,
        PTE_WRITABLE,
        PTE_ZERO,
        SEGV_ACCERR,
        SEGV_MAPERR,
        SEGV_PKUERR,
        SI_KERNEL,
        SIGKILL,
        SIGSEGV,
        VM_ACCESS,
        VM_HUGETLB,
        VM_PKEY,
        VM_SHARED,
        VM_WRITE,
    )
    from memtwin.kernel.growth import grown
    from memtwin.kernel.hugetlb import reserved_fault
    from memtwin.kernel.mm import is_short
    from memtwin.kernel.swapin import swap_in
    from memtwin.kernel.thp import huge_fault, huge_write, reusable_frame
    from memtwin.kernel.window import ALL_ONES
    from memtwin.memory import WRITE


def handle_fault(mm: Mm, address: int, access: int) -> int:
    """One access by the program to one address: what it needs is done and the permission byte is up to date."""
    if mm.canonical_end <= address < ALL_ONES - mm.canonical_end:
        return SIGSEGV << 8 | SI_KERNEL
    vma = mm.find(address) if address < mm.task_size else None
    if vma is None or vma.start > address:
        vma = grown(mm, vma, address)
        if vma is None:
            return SIGSEGV << 8 | SEGV_MAPERR
    if vma.flags & VM_PKEY:
        return SIGSEGV << 8 | SEGV_PKUERR
    if not vma.flags & (VM_WRITE if access == WRITE else VM_ACCESS):
        return SIGSEGV << 8 | SEGV_ACCERR
    return fault_page(mm, vma, address & ~(mm.page_size - 1), access)


def fault_page(mm: Mm, vma: Vma, address: int, access: int) -> int:
    """An access that the VMA allows, to the page at `address` (handle_mm_fault). Memory that is short is won first."""
    if is_short(mm) and not mm.relieve():
        return SIGKILL << 8
    if vma.flags & VM_HUGETLB:
        return reserved_fault(mm, vma, address, access)
    at = mm.pages.entry(address)
    if at == 0:
        code = huge_fault(mm, vma, address, access)
        if code >= 0:
            return code
        if vma.inode is not None:
            return file_fault(mm, vma, address, access)
        at = mm.pages.make(address)
        if at == 0:
            return SIGKILL << 8
    return fault_entry(mm, vma, at, address, access)


def host_for(mm: Mm, address: int, access: int) -> int:
    """Host address of the byte at `address`, whose page is mapped and allows the access."""
    pte = mm.pages.pte(address)
    pfn = pte >> mm.page_shift
    home = mm.claim(address, pfn) if access == WRITE else mm.frames.home(pfn)
    if home == 0:
        if not mm.owned(address):
            return mm.frames.storage + (mm.zero_pfn << mm.page_shift) + (address & (mm.page_size - 1))
        return mm.window + (address & mm.mask)
    mm.grant(address, pte)
    return home + (address & (mm.page_size - 1))


def fault_entry(mm: Mm, vma: Vma, at: int, address: int, access: int) -> int:
    """The access meets the PTE at host address `at`; the VMA allows it."""
    pte = load64(at)
    if not pte & PTE_PRESENT:
        return fault_missing(mm, vma, at, address, access)
    if mm.frames.watch:
        mm.frames.touched(pte >> mm.page_shift)
    if access == WRITE and not pte & PTE_WRITABLE:
        return fault_write_protected(mm, vma, at, address)
    bits = PTE_ACCESSED | (PTE_DIRTY if access == WRITE else 0)
    if pte & bits != bits and mm.pages.huge and mm.pages.is_huge(address):
        mm.mark_huge(address, bits)
    pte |= bits
    store64(at, pte)
    mm.grant(address, pte)
    return 0


def fault_missing(mm: Mm, vma: Vma, at: int, address: int, access: int) -> int:
    """No page is mapped: a file's, or demand zero, where a read finds the shared zero page and a write gets a frame."""
    if load64(at) & PTE_GUARD:
        return SIGSEGV << 8 | SEGV_MAPERR
    if load64(at) & PTE_SWAP:
        code = swap_in(mm, vma, at, address, access)
        return code if code >= 0 else copy_page(mm, vma, at, address)
    if vma.inode is not None:
        return file_fault(mm, vma, address, access)
    if access == WRITE:
        pfn = mm.frames.alloc(0)
        if pfn == NO_FRAME:
            return SIGKILL << 8
        if mm.frames.observed:
            mm.tell(EVENT_DEMAND_ZERO, address, address + mm.page_size, pfn, 0)
        prepare_anon(mm, vma)
        new_anon_page(mm, vma, pfn, address)
        pte = pfn << mm.page_shift | PTE_PRESENT | PTE_WRITABLE | PTE_USER | PTE_ACCESSED | PTE_DIRTY
    else:
        if mm.frames.observed:
            mm.tell(EVENT_ZERO_PAGE, address, address + mm.page_size, mm.zero_pfn, 0)
        pte = mm.zero_pfn << mm.page_shift | PTE_PRESENT | PTE_USER | PTE_ACCESSED | PTE_ZERO
    store64(at, pte)
    mm.min_flt += 1
    mm.grant(address, pte)
    return 0


def fault_write_protected(mm: Mm, vma: Vma, at: int, address: int) -> int:
    """A write to a page that is mapped read-only: the last owner keeps its frame, others get a copy (do_wp_page)."""
    if mm.pages.huge and mm.pages.is_huge(address) and huge_write(mm, vma, address):
        return 0
    pte = load64(at)
    pfn = pte >> mm.page_shift
    flags = load16(mm.frames.flags_at + 2 * pfn)
    mm.min_flt += 1
    if vma.flags & VM_SHARED:
        shared_write(mm, vma, at, address)
        return 0
    if not pte & PTE_ZERO and flags & FRAME_ANON and (flags & FRAME_EXCLUSIVE or reusable_frame(mm, pfn)):
        if mm.frames.observed:
            mm.tell(EVENT_REUSE, address, address + mm.page_size, pfn, pfn)
        mm.frames.set_flags(pfn, load16(mm.frames.flags_at + 2 * pfn) | FRAME_EXCLUSIVE)
        pte |= PTE_WRITABLE | PTE_ACCESSED | PTE_DIRTY
        store64(at, pte)
        mm.grant(address, pte)
        return 0
    return copy_page(mm, vma, at, address)


def copy_page(mm: Mm, vma: Vma, at: int, address: int) -> int:
    """Copy on write: a frame of its own takes the place of the one that is mapped read-only (wp_page_copy)."""
    prepare_anon(mm, vma)
    pfn = mm.frames.alloc(0)
    if pfn == NO_FRAME:
        return SIGKILL << 8
    pte = load64(at)
    if mm.frames.observed:
        tell_copy(mm, pte, pfn, address)
    if not pte & PTE_ZERO:
        old = pte >> mm.page_shift
        mm.bring_bytes(old, pfn, address)
        if mm.unmap(pte, address):
            mm.frames.give(old, 0)
    new_anon_page(mm, vma, pfn, address)
    pte = pfn << mm.page_shift | PTE_PRESENT | PTE_WRITABLE | PTE_USER | PTE_ACCESSED | PTE_DIRTY
    store64(at, pte)
    mm.grant(address, pte)
    return 0


def tell_copy(mm: Mm, pte: int, pfn: int, address: int) -> None:
    """Tell that `pfn` takes the place of what `pte` maps."""
    code = EVENT_COPY
    if pte & PTE_ZERO:
        code = EVENT_REPLACE_ZERO
    elif load16(mm.frames.flags_at + 2 * (pte >> mm.page_shift)) & FRAME_FILE:
        code = EVENT_FILE_COPY
    mm.tell(code, address, address + mm.page_size, pfn, pte >> mm.page_shift)
