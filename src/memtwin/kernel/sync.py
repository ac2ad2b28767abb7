# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""msync and mincore (mm/msync.c, mm/mincore.c)."""

from __future__ import annotations

from typing import Any

import cython

from memtwin.kernel.mm import Mm
from memtwin.kernel.vma import Vma

if not cython.compiled:
    from memtwin.hostmem import load16, load64, store64
    from memtwin.kernel.flags import (
        EBUSY,
        EINVAL,
        ENOMEM,
        FRAME_DIRTY,
        MS_ASYNC,
        MS_INVALIDATE,
        MS_SYNC,
        PTE_DIRTY,
        PTE_MAPPED,
        PTE_SWAP,
        PTE_WRITABLE,
        VM_HUGETLB,
        VM_LOCKED,
        VM_SHARED,
    )
    from memtwin.kernel.hugetlb import index_of, pool_of
    from memtwin.kernel.window import ALL_ONES


def do_msync(mm: Mm, address: int, length: int, flags: int) -> int:
    """msync(2): 0 or -errno; MS_SYNC writes dirty pages of shared files back, holes are -ENOMEM at the end."""
    page = mm.page_size - 1
    if flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC) or address & page or (flags & MS_ASYNC and flags & MS_SYNC):
        return -EINVAL
    end = (address + ((length + page) & ~page)) & ALL_ONES
    if end < address:
        return -ENOMEM
    error = 0
    while address < end:
        vma = mm.find(address) if address < mm.task_size else None
        if vma is None:
            return -ENOMEM
        if address < vma.start:
            if flags == MS_ASYNC or vma.start >= end:
                return -ENOMEM
            address = vma.start
            error = -ENOMEM
        if flags & MS_INVALIDATE and vma.flags & VM_LOCKED:
            return -EBUSY
        stop = vma.end if vma.end < end else end
        if flags & MS_SYNC and vma.inode is not None and vma.flags & VM_SHARED:
            shift = mm.page_shift
            write_back(vma.inode, vma.page_offset(address, shift), vma.page_offset(stop, shift))
        address = stop
    return error


def write_back(inode: Any, first: int, last: int) -> None:
    """The dirty pages of [first, last) of a file on disk are written: clean, and read-only until the next write."""
    if inode.in_memory:
        return
    frames = inode.frames
    for page, pfn in list(inode.pages.items()):
        if first <= page < last and load16(frames.flags_at + 2 * pfn) & FRAME_DIRTY:
            make_clean(inode, page, pfn)


def make_clean(inode: Any, page: int, pfn: int) -> None:
    """Take write access and dirtiness from all shared mappings of the page (folio_mkclean)."""
    frames = inode.frames
    frames.set_flags(pfn, load16(frames.flags_at + 2 * pfn) & ~FRAME_DIRTY)
    for vma in inode.vmas:
        mm = vma.space
        address = vma.start + ((page - vma.pgoff) << mm.page_shift)
        if not vma.flags & VM_SHARED or page < vma.pgoff or address >= vma.end:
            continue
        at = mm.pages.entry(address)
        pte = load64(at) if at else 0
        if pte & PTE_MAPPED and pte >> mm.page_shift == pfn:
            pte &= ~(PTE_DIRTY | PTE_WRITABLE)
            store64(at, pte)
            mm.grant(address, pte)


def do_mincore(mm: Mm, seen: list[bytes], address: int, length: int) -> int:
    """mincore(2): 0 or -errno; what the vector gets is appended to `seen`, a byte a page."""
    page = mm.page_size - 1
    if address & page:
        return -EINVAL
    if length > mm.task_size or address > mm.task_size - length:
        return -ENOMEM
    end = address + ((length + page) & ~page)
    while address < end:
        vma = mm.find(address) if address < mm.task_size else None
        if vma is None or vma.start > address:
            return -ENOMEM
        stop = vma.end if vma.end < end else end
        seen.append(bytes(core_bytes(mm, vma, address, stop)))
        address = stop
    return 0


def core_bytes(mm: Mm, vma: Vma, start: int, end: int) -> bytearray:
    """mincore's bytes for a part of one VMA: what is mapped, and what a file has in the page cache."""
    found = bytearray((end - start) >> mm.page_shift)
    for i in range(len(found)):
        address = start + (i << mm.page_shift)
        pte = mm.pages.pte(address)
        if pte & PTE_MAPPED:
            found[i] = 1
        elif vma.flags & VM_HUGETLB:
            found[i] = cached_unseen(mm, vma, address)
        elif not pte & PTE_SWAP and vma.inode is not None:
            found[i] = vma.inode.find(vma.page_offset(address, mm.page_shift)) != 0
    return found


def cached_unseen(mm: Mm, vma: Vma, address: int) -> bool:
    """mincore of a reserved huge page that is not mapped: whether its file has it, which is only asked where not even
    the table for its entry is there (walk_hugetlb_range)."""
    return mm.pages.level_at(address, pool_of(vma).shift) == 0 and index_of(mm, vma, address) in vma.inode.pages
