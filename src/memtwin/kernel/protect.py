# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""mprotect (mm/mprotect.c), and the protection keys of what may only be executed (arch/x86/mm/pkeys.c).

Where the processor has protection keys, a mapping with PROT_EXEC alone gets a key that forbids all loads and stores;
without them it can be read. Any other protection takes the key away.
"""

from __future__ import annotations

import cython

from memtwin.kernel.mm import Mm
from memtwin.kernel.vma import Vma

if not cython.compiled:
    from memtwin.hostmem import load64, store64
    from memtwin.kernel.flags import (
        EACCES,
        EINVAL,
        ENOMEM,
        EVENT_PROTECT,
        PROT_EXEC,
        PROT_GROWSDOWN,
        PROT_GROWSUP,
        PROT_READ,
        PROT_SEM,
        PROT_WRITE,
        PTE_MAPPED,
        PTE_WRITABLE,
        PTE_ZERO,
        VM_ACCESS,
        VM_ACCOUNT,
        VM_DONTEXPAND,
        VM_GROWSDOWN,
        VM_HUGETLB,
        VM_IO,
        VM_LOCKED,
        VM_NORESERVE,
        VM_PFNMAP,
        VM_PKEY,
        VM_SHARED,
        VM_WRITE,
    )
    from memtwin.kernel.hugetlb import protect_reserved
    from memtwin.kernel.limits import may_change
    from memtwin.kernel.mapping import modify, split_reserved
    from memtwin.kernel.populate import populate_vma
    from memtwin.kernel.window import ALL_ONES


def do_mprotect(mm: Mm, address: int, length: int, prot: int) -> int:
    """mprotect(2): 0 or -errno. What lies before a hole keeps its new protection."""
    page = mm.page_size - 1
    grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP)
    prot &= ~grows
    if grows == PROT_GROWSDOWN | PROT_GROWSUP or address & page:
        return -EINVAL
    if length == 0:
        return 0
    end = (address + ((length + page) & ~page)) & ALL_ONES
    if end <= address:
        return -ENOMEM
    if prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC | PROT_SEM):
        return -EINVAL
    if grows & PROT_GROWSDOWN:
        vma = mm.find(address) if address < mm.task_size else None
        if vma is None or vma.start >= end:
            return -ENOMEM
        address = vma.start
        if not vma.flags & VM_GROWSDOWN:
            return -EINVAL
    while address < end:
        vma = mm.find(address) if address < mm.task_size else None
        if vma is None or vma.start > address:
            return -ENOMEM
        stop = vma.end if vma.end < end else end
        error = protect_vma(mm, vma, address, stop, prot)
        if error:
            return error
        address = stop
    return 0


def protect_vma(mm: Mm, vma: Vma, start: int, end: int, prot: int) -> int:
    """mprotect of a part of one VMA (mprotect_fixup). A locked private mapping that becomes writable is copied now."""
    old = vma.flags
    flags = (old & ~(VM_ACCESS | VM_PKEY)) | (prot & VM_ACCESS) | key_for(mm, prot)
    if (flags & VM_ACCESS) & ~(flags >> 4):
        return -EACCES
    if flags == old:
        return 0
    partly = start != vma.start or end != vma.end
    if partly and vma.flags & VM_HUGETLB:
        if split_reserved(mm, vma, start, end):
            return -EINVAL
    elif partly and vma.flags & (VM_IO | VM_DONTEXPAND | VM_PFNMAP):
        return -EINVAL
    if flags & VM_WRITE:
        if not may_change(mm, old, flags, (end - start) >> mm.page_shift):
            return -ENOMEM
        if not old & (VM_ACCOUNT | VM_WRITE | VM_HUGETLB | VM_SHARED | VM_NORESERVE):
            flags |= VM_ACCOUNT
    elif old & VM_ACCOUNT and vma.anonymous and vma.anon is None:
        flags &= ~VM_ACCOUNT
    if mm.frames.observed:
        mm.tell(EVENT_PROTECT, start, end, 0, 0)
    vma = modify(mm, vma, start, end, flags)
    if vma is None:
        return -ENOMEM
    if flags & VM_HUGETLB:
        protect_reserved(mm, vma, start, end)
    else:
        change_protection(mm, vma, start, end)
    if old & (VM_WRITE | VM_SHARED | VM_LOCKED) == VM_LOCKED and flags & VM_WRITE:
        populate_vma(mm, vma, start, end)
    return 0


def key_for(mm: Mm, prot: int) -> int:
    """VM_PKEY, if a mapping of that protection has the key for execution alone, else 0."""
    return VM_PKEY if prot == PROT_EXEC and mm.profile.protection_keys else 0


def change_protection(mm: Mm, vma: Vma, start: int, end: int) -> None:
    """Let the PTEs of [start, end) grant what the VMA now allows, without faults for what needs none."""
    at = start
    while at < end:
        table = mm.pages.find(at)
        stop = mm.pages.reach if mm.pages.reach < end else end
        if table:
            entry = mm.pages.entry(at)
            while at < stop:
                pte = load64(entry)
                if pte & PTE_MAPPED:
                    pte = protected(mm, vma, pte)
                    store64(entry, pte)
                    mm.grant(at, pte)
                entry += 8
                at += mm.page_size
        at = stop


def protected(mm: Mm, vma: Vma, pte: int) -> int:
    """The PTE under the VMA's protection: an own page that was written stays writable if the VMA allows it."""
    pte = mm.readable(vma, pte)
    if vma.flags & VM_WRITE and not pte & PTE_ZERO and mm.may_write(vma, pte):
        pte |= PTE_WRITABLE
    return pte
