# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Page faults (mm/memory.c): what an access does that the page table does not grant.

The functions return 0, or what ends the process: signal << 8 | si_code.
"""

from __future__ import annotations

from typing import Any

import cython

from memtwin.kernel.mm import Mm
from memtwin.kernel.vma import Vma

if not cython.compiled:
    from memtwin.hostmem import copy, fill, load8, load16, load64, store16, store32, store64
    from memtwin.kernel.flags import (
        FRAME_ANON,
        FRAME_EXCLUSIVE,
        NO_FRAME,
        PTE_ACCESSED,
        PTE_DIRTY,
        PTE_PRESENT,
        PTE_USER,
        PTE_WRITABLE,
        PTE_ZERO,
        SEGV_ACCERR,
        SEGV_MAPERR,
        SIGKILL,
        SIGSEGV,
        TOUCHED,
        VM_ACCESS,
        VM_WRITE,
    )
    from memtwin.kernel.mm import TOUCHED_WORD
    from memtwin.memory import READ, WRITE


def handle_fault(mm: Mm, address: int, access: int) -> int:
    """One access by the program to one address: what it needs is done and the permission byte is up to date."""
    vma = mm.find(address) if address < mm.task_size else None
    if vma is None or vma.start > address:
        return SIGSEGV << 8 | SEGV_MAPERR
    if not vma.flags & (VM_WRITE if access == WRITE else VM_ACCESS):
        return SIGSEGV << 8 | SEGV_ACCERR
    at = mm.pages.make(address)
    if at == 0:
        return SIGKILL << 8
    return fault_entry(mm, vma, at, address & ~(mm.page_size - 1), access)


def host_for(mm: Mm, address: int, access: int) -> int:
    """Host address of the byte at `address`, whose page is mapped and allows the access."""
    pte = load64(mm.pages.entry(address))
    pfn = pte >> mm.page_shift
    home = mm.claim(address, pfn) if access == WRITE else mm.frames.home(pfn)
    if home == 0:
        return mm.window + (address & mm.mask)
    mm.grant(address, pte)
    return home + (address & (mm.page_size - 1))


def fault_entry(mm: Mm, vma: Vma, at: int, address: int, access: int) -> int:
    """The access meets the PTE at host address `at`; the VMA allows it."""
    pte = load64(at)
    if pte == 0:
        return fault_missing(mm, vma, at, address, access)
    if access == WRITE and not pte & PTE_WRITABLE:
        return fault_write_protected(mm, vma, at, address)
    pte |= PTE_ACCESSED | (PTE_DIRTY if access == WRITE else 0)
    store64(at, pte)
    mm.grant(address, pte)
    return 0


def fault_missing(mm: Mm, vma: Vma, at: int, address: int, access: int) -> int:
    """Demand zero: a read finds the shared zero page, a write gets a frame."""
    if access == WRITE:
        pfn = mm.frames.alloc(0)
        if pfn == NO_FRAME:
            return SIGKILL << 8
        prepare_anon(mm, vma)
        new_anon_page(mm, vma, pfn, address)
        pte = pfn << mm.page_shift | PTE_PRESENT | PTE_WRITABLE | PTE_USER | PTE_ACCESSED | PTE_DIRTY
    else:
        pte = mm.zero_pfn << mm.page_shift | PTE_PRESENT | PTE_USER | PTE_ACCESSED | PTE_ZERO
    store64(at, pte)
    mm.min_flt += 1
    mm.grant(address, pte)
    return 0


def new_anon_page(mm: Mm, vma: Vma, pfn: int, address: int) -> None:
    """The frame becomes the anonymous page at `address`, mapped once, by one PTE that nobody shares."""
    frames = mm.frames
    store32(frames.mapped_at + 4 * pfn, 1)
    store16(frames.flags_at + 2 * pfn, FRAME_ANON | FRAME_EXCLUSIVE)
    store32(frames.owner_at + 4 * pfn, vma.anon.number)
    store64(frames.index_at + 8 * pfn, vma.page_offset(address, mm.page_shift))
    mm.anon_pages += 1


def fault_write_protected(mm: Mm, vma: Vma, at: int, address: int) -> int:
    """A write to a page that is mapped read-only: the last owner keeps its frame, others get a copy."""
    pte = load64(at)
    old = pte >> mm.page_shift
    frames = mm.frames
    mm.min_flt += 1
    prepare_anon(mm, vma)
    if not pte & PTE_ZERO and load16(frames.flags_at + 2 * old) & FRAME_ANON and frames.mapped(old) == 1:
        frames.set_flags(old, load16(frames.flags_at + 2 * old) | FRAME_EXCLUSIVE)
        pte |= PTE_WRITABLE | PTE_ACCESSED | PTE_DIRTY
        store64(at, pte)
        mm.grant(address, pte)
        return 0
    pfn = frames.alloc(0)
    if pfn == NO_FRAME:
        return SIGKILL << 8
    if not pte & PTE_ZERO:
        bring_bytes(mm, old, pfn, address)
        mm.anon_pages -= 1
        store32(frames.mapped_at + 4 * old, frames.mapped(old) - 1)
    new_anon_page(mm, vma, pfn, address)
    pte = pfn << mm.page_shift | PTE_PRESENT | PTE_WRITABLE | PTE_USER | PTE_ACCESSED | PTE_DIRTY
    store64(at, pte)
    mm.grant(address, pte)
    return 0


def bring_bytes(mm: Mm, old: int, new: int, address: int) -> None:
    """Copy on write: `new` gets the bytes of `old`, in the window of `mm`."""
    home = mm.frames.home(old)
    if home == 0:
        return
    mm.leave_window(old, address)
    here = mm.claim(address, new)
    if home != here:
        copy(here, home, mm.page_size)


def prepare_anon(mm: Mm, vma: Vma) -> None:
    """The VMA gets an AnonVma before its first own page: that of a neighbour it could be one with, or a new one.

    The neighbour above is asked first (mm/vma.c, find_mergeable_anon_vma).
    """
    if vma.anon is not None:
        return
    anon = reusable(mm, vma, vma.next, vma.next)
    if anon is None:
        anon = reusable(mm, vma.previous, vma, vma.previous)
    if anon is None:
        anon = mm.machine.new_anon()
    vma.join((anon,), anon)


def reusable(mm: Mm, left: Any, right: Any, giver: Any) -> Any:
    """The AnonVma of `giver`, one of two neighbours, if they differ in nothing but the accesses they allow."""
    if left is None or right is None or giver.anon is None or len(giver.chain) != 1:
        return None
    if left.end != right.start or left.file is not right.file or (left.flags ^ right.flags) & ~VM_ACCESS:
        return None
    if right.pgoff != left.page_offset(right.start, mm.page_shift):
        return None
    return giver.anon


def touch_range(mm: Mm, start: int, end: int, access: int) -> int:
    """The program accesses every page of [start, end), in order; stops at the first that it may not."""
    address = start & ~(mm.page_size - 1)
    while True:
        address = untouched(mm, address, end, access)
        if address >= end:
            return 0
        vma = mm.find(address) if address < mm.task_size else None
        if vma is None or vma.start > address or not vma.flags & (VM_WRITE if access == WRITE else VM_ACCESS):
            code = handle_fault(mm, address, access)
            if code:
                mm.stop(code >> 8, code & 255, address, access)
                return code
            continue
        stop = vma.end if vma.end < end else end
        code = touch_vma(mm, vma, address, stop, access)
        if code:
            mm.stop(code >> 8, code & 255, address, access)
            return code
        address = stop


def untouched(mm: Mm, start: int, end: int, access: int) -> int:
    """The first page of [start, end) whose permission byte does not already say that the access is free."""
    at = mm.slot(start)
    stop = at + ((end - start + mm.page_size - 1) >> mm.page_shift)
    bit = TOUCHED if access == WRITE else READ
    first = at
    while at < stop:
        if load8(at) & bit:
            at += 1
            while access == WRITE and at & 7 == 0 and at + 8 <= stop and load64(at) & TOUCHED_WORD == TOUCHED_WORD:
                at += 8
        else:
            break
    return start + ((at - first) << mm.page_shift)


def touch_vma(mm: Mm, vma: Vma, start: int, end: int, access: int) -> int:
    """`touch_range` within one VMA that allows the access."""
    address = start
    while address < end:
        at = mm.pages.make(address)
        if at == 0:
            return SIGKILL << 8
        stop = mm.pages.reach if mm.pages.reach < end else end
        while address < stop:
            if load64(at):
                code = fault_entry(mm, vma, at, address, access)
                if code:
                    return code
                at += 8
                address += mm.page_size
                continue
            count = 0
            while address + (count << mm.page_shift) < stop and load64(at + 8 * count) == 0:
                count += 1
            if access == WRITE:
                if not fill_empty(mm, vma, at, address, count):
                    return SIGKILL << 8
            else:
                for i in range(count):
                    fault_missing(mm, vma, at + 8 * i, address + (i << mm.page_shift), access)
            at += 8 * count
            address += count << mm.page_shift
    return 0


def fill_empty(mm: Mm, vma: Vma, at: int, start: int, count: int) -> bool:
    """Demand zero for a run of `count` empty PTEs from `at` on; False when no frame is free."""
    frames = mm.frames
    prepare_anon(mm, vma)
    owner = vma.anon.number
    index = vma.page_offset(start, mm.page_shift)
    done = 0
    while done < count:
        pfn = frames.alloc_run(count - done)
        if pfn == NO_FRAME:
            return False
        run = frames.run
        pte = pfn << mm.page_shift | PTE_PRESENT | PTE_WRITABLE | PTE_USER | PTE_ACCESSED | PTE_DIRTY
        for i in range(run):
            store64(at + 8 * (done + i), pte + (i << mm.page_shift))
            store32(frames.mapped_at + 4 * (pfn + i), 1)
            store16(frames.flags_at + 2 * (pfn + i), FRAME_ANON | FRAME_EXCLUSIVE)
            store32(frames.owner_at + 4 * (pfn + i), owner)
            store64(frames.index_at + 8 * (pfn + i), index + done + i)
        fill(mm.slot(start + (done << mm.page_shift)), READ | TOUCHED, run)
        mm.anon_pages += run
        mm.min_flt += run
        done += run
    return True
