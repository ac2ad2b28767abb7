# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""A program's accesses to whole ranges of pages, without bytes: the faults and the state that they would leave."""

from __future__ import annotations

import cython

from memtwin.kernel.mm import Mm
from memtwin.kernel.vma import Vma

if not cython.compiled:
    from memtwin.hostmem import fill, load8, load64, store16, store32, store64
    from memtwin.kernel.anon import prepare_anon
    from memtwin.kernel.fault import fault_entry, fault_missing, fault_page, handle_fault
    from memtwin.kernel.flags import (
        EVENT_DEMAND_ZERO,
        EVENT_SIGNAL,
        FRAME_ANON,
        FRAME_EXCLUSIVE,
        NO_FRAME,
        PTE_ACCESSED,
        PTE_DIRTY,
        PTE_PRESENT,
        PTE_USER,
        PTE_WRITABLE,
        SIGKILL,
        TOUCHED,
        VM_ACCESS,
        VM_PKEY,
        VM_WRITE,
    )
    from memtwin.kernel.mm import TOUCHED_WORD, is_short
    from memtwin.kernel.policies.policy import ANON
    from memtwin.memory import READ, WRITE


def stopped(mm: Mm, code: int, address: int, access: int) -> int:
    """Note what stopped an access; the code again."""
    if mm.frames.observed:
        mm.tell(EVENT_SIGNAL, address, address + 1, code >> 8, code & 255)
    mm.stop(code >> 8, code & 255, address, access)
    return code


def touch_range(mm: Mm, start: int, end: int, access: int) -> int:
    """The program accesses every page of [start, end), in order; stops at the first that it may not."""
    address = start & ~(mm.page_size - 1)
    while True:
        address = untouched(mm, address, end, access)
        if address >= end:
            return 0
        vma = mm.find(address) if address < mm.task_size else None
        needed = VM_WRITE if access == WRITE else VM_ACCESS
        if vma is None or vma.start > address or not vma.flags & needed or vma.flags & VM_PKEY:
            code = handle_fault(mm, address, access)
            if code:
                return stopped(mm, code, address, access)
            address += mm.page_size
            continue
        stop = vma.end if vma.end < end else end
        code = touch_vma(mm, vma, address, stop, access)
        if code:
            return code
        address = stop


def untouched(mm: Mm, start: int, end: int, access: int) -> int:
    """The first page of [start, end) whose permission byte does not already say that the access is free."""
    if not mm.owned(start):
        return start
    piece = ((start >> mm.chunk_shift) + 1) << mm.chunk_shift
    if end > piece:
        end = piece
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
    if vma.inode is not None or mm.pages.huge or mm.wants_huge(vma):
        return touch_each(mm, vma, start, end, access)
    address = start
    while address < end:
        if is_short(mm) and not mm.relieve():
            return stopped(mm, SIGKILL << 8, address, access)
        at = mm.pages.make(address)
        if at == 0:
            return stopped(mm, SIGKILL << 8, address, access)
        stop = mm.pages.reach if mm.pages.reach < end else end
        while address < stop:
            if load64(at):
                if is_short(mm) and not mm.relieve():
                    return stopped(mm, SIGKILL << 8, address, access)
                code = fault_entry(mm, vma, at, address, access)
                if code:
                    return stopped(mm, code, address, access)
                at += 8
                address += mm.page_size
                continue
            count = 0
            while address + (count << mm.page_shift) < stop and load64(at + 8 * count) == 0:
                count += 1
            if access == WRITE:
                if not fill_empty(mm, vma, at, address, count):
                    return stopped(mm, SIGKILL << 8, address, access)
            else:
                for i in range(count):
                    fault_missing(mm, vma, at + 8 * i, address + (i << mm.page_shift), access)
            at += 8 * count
            address += count << mm.page_shift
    return 0


def touch_each(mm: Mm, vma: Vma, start: int, end: int, access: int) -> int:
    """`touch_vma` page by page, where pages of files or huge ones may be."""
    bit = TOUCHED if access == WRITE else READ
    for address in range(start, end, mm.page_size):
        if not load8(mm.slot(address)) & bit or not mm.owned(address):
            code = fault_page(mm, vma, address, access)
            if code:
                return stopped(mm, code, address, access)
    return 0


def fill_empty(mm: Mm, vma: Vma, at: int, start: int, count: int) -> bool:
    """Demand zero for a run of `count` empty PTEs from `at` on; False when no frame is free."""
    frames = mm.frames
    prepare_anon(mm, vma)
    owner = vma.anon.number
    index = vma.page_offset(start, mm.page_shift)
    done = 0
    while done < count:
        wanted = count - done
        if frames.free < frames.low + wanted or mm.group.usage + wanted > mm.group.limit:
            if is_short(mm) and not mm.relieve():
                return False
            wanted = 1
        pfn = frames.alloc_run(wanted)
        if pfn == NO_FRAME:
            return False
        run = frames.run
        if frames.observed:
            first = start + (done << mm.page_shift)
            mm.tell(EVENT_DEMAND_ZERO, first, first + (run << mm.page_shift), pfn, 0)
        pte = pfn << mm.page_shift | PTE_PRESENT | PTE_WRITABLE | PTE_USER | PTE_ACCESSED | PTE_DIRTY
        for i in range(run):
            store64(at + 8 * (done + i), pte + (i << mm.page_shift))
            store32(frames.mapped_at + 4 * (pfn + i), 1)
            store16(frames.flags_at + 2 * (pfn + i), FRAME_ANON | FRAME_EXCLUSIVE)
            store32(frames.owner_at + 4 * (pfn + i), owner)
            store64(frames.index_at + 8 * (pfn + i), index + done + i)
            store32(frames.next_at + 4 * (pfn + i), frames.clock + i)
        frames.clock += run
        if frames.listing:
            for i in range(run):
                frames.enlist(mm.group, pfn + i, ANON)
        if not frames.watch and mm.owns(start):
            fill(mm.slot(start + (done << mm.page_shift)), READ | TOUCHED, run)
        mm.anon_pages += run
        mm.min_flt += run
        done += run
    return True
