# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Reserved huge pages in an address space: faults, fork, mprotect, mremap, unmapping (mm/hugetlb.c as of Linux 6.18).

A page is mapped by one entry with PTE_HUGE, above the last level; no table is below it. It comes as a whole with the
first access, a read included, and is never swapped, split, merged or counted in RSS. What a fault finds missing in the
pool is SIGBUS.

Two mappings' PUD-sized parts of one shared file may share a page table on Linux (huge_pmd_share); here they do not.
"""

from __future__ import annotations

from typing import Any

import cython

from memtwin.kernel.hugepool import BROKEN
from memtwin.kernel.mm import Mm
from memtwin.kernel.vma import Vma

if not cython.compiled:
    from memtwin.hostmem import load16, load32, load64, store16, store32, store64
    from memtwin.kernel.anon import prepare_anon
    from memtwin.kernel.flags import (
        BUS_ADRERR,
        EVENT_COPY,
        EVENT_FILE,
        EVENT_HUGE,
        EVENT_REUSE,
        FRAME_ANON,
        FRAME_EXCLUSIVE,
        FRAME_FILE,
        FRAME_HUGETLB,
        PTE_ACCESSED,
        PTE_DIRTY,
        PTE_HUGE,
        PTE_MAPPED,
        PTE_PRESENT,
        PTE_USER,
        PTE_WRITABLE,
        SIGBUS,
        SIGKILL,
        TOUCHED,
        VM_MAYSHARE,
        VM_MAYWRITE,
        VM_SHARED,
        VM_WRITE,
    )
    from memtwin.kernel.movepages import move_bytes
    from memtwin.kernel.pagetable import small_pte
    from memtwin.memory import WRITE


def pool_of(vma: Vma) -> Any:
    """The HugePool of a VMA with VM_HUGETLB."""
    return vma.inode.pool


def index_of(mm: Mm, vma: Vma, address: int) -> int:
    """Which page of the VMA's file is at `address`, in huge pages."""
    return int(vma.page_offset(address, mm.page_shift) >> vma.inode.pool.order)


def is_owner(vma: Vma) -> bool:
    """Whether pages are promised to this private mapping (HPAGE_RESV_OWNER)."""
    return vma.promise is not None and vma.promise is not BROKEN


def cuts(vma: Vma, address: int) -> bool:
    """Whether a border at `address` would cut one of the VMA's reserved huge pages (hugetlb_vm_op_split)."""
    return bool(address & (pool_of(vma).size - 1))


def reserved_fault(mm: Mm, vma: Vma, address: int, access: int) -> int:
    """An access that the VMA allows, anywhere in one of its pages (hugetlb_fault)."""
    pool = pool_of(vma)
    size = pool.size
    start = address & ~(size - 1)
    at = mm.pages.make_at(start, pool.shift)
    if at == 0:
        return SIGKILL << 8
    entry = load64(at)
    if not entry & PTE_MAPPED:
        return map_missing(mm, vma, at, start, access)
    if access == WRITE and not entry & PTE_WRITABLE:
        return write_protected(mm, vma, at, start)
    entry |= PTE_ACCESSED | (PTE_DIRTY if access == WRITE else 0)
    store64(at, entry)
    mm.grant(address, small_pte(entry, address - start, mm.page_shift))
    return 0


def map_missing(mm: Mm, vma: Vma, at: int, start: int, access: int) -> int:
    """No page is mapped: a shared file's, which others may have brought in already, or a new one (hugetlb_no_page)."""
    inode = vma.inode
    shared = vma.flags & VM_MAYSHARE
    index = index_of(mm, vma, start)
    if vma.promise is BROKEN:
        return SIGBUS << 8 | BUS_ADRERR
    pfn = inode.pages.get(index, 0)
    known = pfn != 0
    if not known:
        if index >= inode.size >> inode.pool.shift:
            return SIGBUS << 8 | BUS_ADRERR
        if not shared:
            prepare_anon(mm, vma)
        pfn = obtain(mm, vma, start, False)
        if pfn == 0:
            return SIGBUS << 8 | BUS_ADRERR
        new_page(mm, vma, pfn, start, FRAME_FILE if shared else FRAME_ANON | FRAME_EXCLUSIVE)
        if shared:
            inode.pages[index] = pfn
    if mm.frames.observed:
        mm.tell(EVENT_FILE if known else EVENT_HUGE, start, start + inode.pool.size, pfn, pfn)
    entry = pfn << mm.page_shift | PTE_HUGE | PTE_PRESENT | PTE_USER | PTE_ACCESSED
    if vma.flags & VM_WRITE and (shared or access == WRITE):
        entry |= PTE_WRITABLE | PTE_DIRTY
    count_maps(mm, pfn, 1 << inode.pool.order, 1)
    mm.pages.reserved += 1
    mm.reserved_pages += 1 << inode.pool.order
    put_in(mm, at, start, entry, inode.pool.size)
    mm.min_flt += 1
    return 0


def obtain(mm: Mm, vma: Vma, start: int, beside: bool) -> int:
    """A page of the pool for `start`, by what is promised to the mapping if anything is; 0 when there is none.

    beside: none of what is promised may be used, because the page at `start` has used it (alloc_hugetlb_folio).
    """
    inode = vma.inode
    pool = inode.pool
    index = index_of(mm, vma, start)
    used: Any = None
    promised = False
    if vma.flags & VM_MAYSHARE:
        used = inode.promises
        promised = index in used
    elif is_owner(vma) and not beside:
        used = vma.promise.used
        promised = index not in used
    pfn = pool.take(promised)
    if pfn and used is not None:
        used.add(index)
    return int(pfn)


def write_protected(mm: Mm, vma: Vma, at: int, start: int) -> int:
    """A write to a page that is mapped read-only: the last owner keeps it, others get a copy (hugetlb_wp).

    Where the pool has none for a copy, whoever made the mapping takes the page from the others, its children, who get
    SIGBUS when they miss it; for the others it is SIGBUS now.
    """
    pool = pool_of(vma)
    entry = load64(at)
    pfn = entry >> mm.page_shift
    owner = is_owner(vma)
    new = 0
    if not vma.flags & VM_MAYSHARE and load32(mm.frames.mapped_at + 4 * pfn) > 1:
        new = obtain(mm, vma, start, owner)
        if new == 0 and owner:
            take_from_others(mm, vma, start, pfn)
        if new == 0 and load32(mm.frames.mapped_at + 4 * pfn) > 1:
            return SIGBUS << 8 | BUS_ADRERR
    if new:
        copy_reserved(mm, vma, at, start, new)
    else:
        if mm.frames.observed:
            mm.tell(EVENT_REUSE, start, start + pool.size, pfn, pfn)
        if not vma.flags & VM_MAYSHARE:
            for i in range(1 << pool.order):
                store16(mm.frames.flags_at + 2 * (pfn + i), FRAME_ANON | FRAME_EXCLUSIVE | FRAME_HUGETLB)
        put_in(mm, at, start, entry | PTE_WRITABLE | PTE_DIRTY | PTE_ACCESSED, pool.size)
    mm.min_flt += 1
    return 0


def copy_reserved(mm: Mm, vma: Vma, at: int, start: int, new: int) -> None:
    """Copy on write into the page whose first frame is `new`."""
    pool = pool_of(vma)
    entry = load64(at)
    old = entry >> mm.page_shift
    pages = 1 << pool.order
    prepare_anon(mm, vma)
    if mm.frames.observed:
        mm.tell(EVENT_COPY, start, start + pool.size, new, old)
    new_page(mm, vma, new, start, FRAME_ANON | FRAME_EXCLUSIVE)
    for i in range(pages):
        address = start + (i << mm.page_shift)
        mm.bring_bytes(old + i, new + i, address)
    count_maps(mm, old, pages, -1)
    count_maps(mm, new, pages, 1)
    entry = new << mm.page_shift | PTE_HUGE | PTE_PRESENT | PTE_USER | PTE_ACCESSED | PTE_WRITABLE | PTE_DIRTY
    put_in(mm, at, start, entry, pool.size)


def take_from_others(mm: Mm, vma: Vma, start: int, pfn: int) -> None:
    """Unmap the page at `start` from all private mappings of its file to which nothing is promised (unmap_ref_private).

    They are looked for at the same address, as fork left them: Linux would try for ever if one had moved since.
    """
    index = index_of(mm, vma, start)
    for other in list(vma.inode.vmas):
        space = other.space
        if other is vma or other.flags & VM_MAYSHARE or is_owner(other):
            continue
        if not other.start <= start < other.end or index_of(space, other, start) != index:
            continue
        at = space.pages.reserved_at(start)
        if at and load64(at) >> mm.page_shift == pfn:
            unmap_reserved(space, other, at, start)
            other.promise = BROKEN


def put_in(mm: Mm, at: int, start: int, entry: int, size: int) -> None:
    """Set the entry of the page at `start` and the permissions of all of it."""
    store64(at, entry)
    grant_all(mm, start, entry, size)


def grant_all(mm: Mm, start: int, entry: int, size: int) -> None:
    """Let the permission bytes of the page at `start` say what its entry grants."""
    for i in range(size >> mm.page_shift):
        offset = i << mm.page_shift
        mm.grant(start + offset, small_pte(entry, offset, mm.page_shift))


def new_page(mm: Mm, vma: Vma, pfn: int, start: int, kind: int) -> None:
    """The frames of a page of the pool hold what is at `start` now. kind: FRAME_* bits besides FRAME_HUGETLB."""
    frames = mm.frames
    pool = pool_of(vma)
    index = vma.page_offset(start, mm.page_shift)
    owner = vma.anon.number if kind & FRAME_ANON else vma.inode.number
    for i in range(1 << pool.order):
        store16(frames.flags_at + 2 * (pfn + i), kind | FRAME_HUGETLB)
        store32(frames.owner_at + 4 * (pfn + i), owner)
        store64(frames.index_at + 8 * (pfn + i), index + i)


def count_maps(mm: Mm, pfn: int, pages: int, change: int) -> None:
    """A page is mapped once more, or once less."""
    for i in range(pages):
        at = mm.frames.mapped_at + 4 * (pfn + i)
        store32(at, load32(at) + change)


def unmap_at(mm: Mm, address: int) -> None:
    """Unmap the reserved huge page at `address`, if there is one; its VMA is still there."""
    at = mm.pages.reserved_at(address)
    if at:
        unmap_reserved(mm, mm.find(address), at, address)


def unmap_reserved(mm: Mm, vma: Vma, at: int, start: int) -> None:
    """Unmap one page (__unmap_hugepage_range).

    What is promised to the mapping is promised again, so that nobody else gets the page before it is touched anew:
    df7a6d1f6405 ("mm/hugetlb: restore the reservation if needed", 6.9).
    """
    pool = pool_of(vma)
    entry = load64(at)
    pfn = entry >> mm.page_shift
    store64(at, 0)
    mm.pages.reserved -= 1
    mm.reserved_pages -= 1 << pool.order
    private = load16(mm.frames.flags_at + 2 * pfn) & FRAME_ANON != 0
    if private and is_owner(vma) and mm.profile.restores_promises:
        pool.restoring.add(pfn)
        vma.promise.used.discard(index_of(mm, vma, start))
    count_maps(mm, pfn, 1 << pool.order, -1)
    last = private and load32(mm.frames.mapped_at + 4 * pfn) == 0
    leave_bytes(mm, pfn, start, pool.size, last)
    if last:
        pool.give(pfn)


def leave_bytes(mm: Mm, pfn: int, start: int, size: int, last: bool) -> None:
    """The page at `start` is unmapped: its bytes leave the window, for nowhere if this was the last mapping."""
    for i in range(size >> mm.page_shift):
        address = start + (i << mm.page_shift)
        if not last:
            mm.leave_window(pfn + i, address)
        elif mm.frames.home(pfn + i) == mm.window + (address & mm.mask):
            store64(mm.frames.home_at + 8 * (pfn + i), 0)
        else:
            mm.frames.drop_bytes(pfn + i)
    piece = start
    while piece < start + size:
        if mm.owned(piece):
            mm.wipe_window(piece, piece + mm.pages.span)
        piece += mm.pages.span


def share_reserved(parent: Mm, child: Mm, vma: Vma) -> bool:
    """fork: the pages of a private mapping are shared until one side writes; False when no frame is free for a table.

    The child has a table wherever the parent has one, even for no page (copy_hugetlb_page_range).
    """
    pool = pool_of(vma)
    size = pool.size
    start = vma.start
    while start < vma.end:
        at = parent.pages.level_at(start, pool.shift)
        if at == 0:
            start = (start | ((size << parent.pages.bits) - 1)) + 1
            continue
        to = child.pages.make_at(start, pool.shift)
        if to == 0:
            return False
        entry = load64(at)
        if entry & PTE_MAPPED:
            pfn = entry >> parent.page_shift
            if vma.flags & (VM_SHARED | VM_MAYWRITE) == VM_MAYWRITE:
                entry &= ~PTE_WRITABLE
                parent.revoke(start, start + size, WRITE | TOUCHED)
            for i in range(1 << pool.order):
                store16(parent.frames.flags_at + 2 * (pfn + i), FRAME_ANON | FRAME_HUGETLB)
            count_maps(parent, pfn, 1 << pool.order, 1)
            store64(at, entry)
            store64(to, entry)
            child.pages.reserved += 1
            child.reserved_pages += 1 << pool.order
        start += size
    return True


def protect_reserved(mm: Mm, vma: Vma, start: int, end: int) -> None:
    """mprotect: let the entries of [start, end) grant what the VMA now allows (hugetlb_change_protection).

    Private pages always lose the right to be written; the next write finds out whose they are.
    """
    size = pool_of(vma).size
    while start < end:
        at = mm.pages.reserved_at(start)
        if at:
            pte = mm.readable(vma, load64(at))
            if vma.flags & (VM_SHARED | VM_WRITE) == VM_SHARED | VM_WRITE:
                pte |= PTE_WRITABLE
            put_in(mm, at, start, pte, size)
        start += size


def move_reserved(mm: Mm, vma: Vma, start: int, end: int, to: int) -> None:
    """mremap: the pages of [start, end) move to `to`; tables come there for pages alone (move_hugetlb_page_tables)."""
    pool = pool_of(vma)
    size = pool.size
    pages = 1 << pool.order
    while start < end:
        source = mm.pages.reserved_at(start)
        target = mm.pages.make_at(to, pool.shift) if source else 0
        if target:
            entry = load64(source)
            for i in range(pages):
                mm.owns(to + (i << mm.page_shift))  # as in movepages.move_table
            store64(source, 0)
            store64(target, entry)
            for i in range(pages):
                offset = i << mm.page_shift
                move_bytes(mm, small_pte(entry, offset, mm.page_shift), start + offset, to + offset)
        start += size
        to += size
