# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""madvise (mm/madvise.c)."""

from __future__ import annotations

import cython

from memtwin.kernel.mm import Mm
from memtwin.kernel.vma import Vma

if not cython.compiled:
    from memtwin.hostmem import load64
    from memtwin.kernel.flags import (
        EACCES,
        EAGAIN,
        EINVAL,
        ENOMEM,
        EVENT_DISCARD,
        MADV_COLD,
        MADV_COLLAPSE,
        MADV_DODUMP,
        MADV_DOFORK,
        MADV_DONTDUMP,
        MADV_DONTFORK,
        MADV_DONTNEED,
        MADV_DONTNEED_LOCKED,
        MADV_FREE,
        MADV_GUARD_INSTALL,
        MADV_GUARD_REMOVE,
        MADV_HUGEPAGE,
        MADV_KEEPONFORK,
        MADV_MERGEABLE,
        MADV_NOHUGEPAGE,
        MADV_NORMAL,
        MADV_PAGEOUT,
        MADV_POPULATE_READ,
        MADV_POPULATE_WRITE,
        MADV_RANDOM,
        MADV_REMOVE,
        MADV_SEQUENTIAL,
        MADV_UNMERGEABLE,
        MADV_WILLNEED,
        MADV_WIPEONFORK,
        VM_DONTCOPY,
        VM_DONTDUMP,
        VM_DONTEXPAND,
        VM_HUGEPAGE,
        VM_HUGETLB,
        VM_IO,
        VM_LOCKED,
        VM_MAYWRITE,
        VM_NOHUGEPAGE,
        VM_PFNMAP,
        VM_RAND_READ,
        VM_SEQ_READ,
        VM_SHARED,
        VM_WIPEONFORK,
    )
    from memtwin.kernel.guard import install_guards, remove_guards
    from memtwin.kernel.hugetlb import cuts, pool_of
    from memtwin.kernel.lazyfree import free_lazily
    from memtwin.kernel.mapping import modify, split_reserved
    from memtwin.kernel.populate import advise_populate
    from memtwin.kernel.window import ALL_ONES
    from memtwin.memory import READ, WRITE


def do_madvise(mm: Mm, address: int, length: int, advice: int) -> int:
    """madvise(2): 0 or -errno; behind a hole it goes on and answers -ENOMEM at the end."""
    page = mm.page_size - 1
    rounded = (length + page) & ~page & ALL_ONES
    end = (address + rounded) & ALL_ONES
    if not known(advice) or address & page or (length and not rounded) or end < address:
        return -EINVAL
    if advice in (MADV_POPULATE_READ, MADV_POPULATE_WRITE):
        return advise_populate(mm, address, end, WRITE if advice == MADV_POPULATE_WRITE else READ)
    error = 0
    while address < end:
        vma = mm.find(address) if address < mm.task_size else None
        if vma is None or vma.start >= end:
            return -ENOMEM
        if vma.start > address:
            error = -ENOMEM
            address = vma.start
        stop = vma.end if vma.end < end else end
        result = advise_vma(mm, vma, address, stop, advice)
        if result:
            return result
        address = stop
    return error


def known(advice: int) -> bool:
    """Whether there is such an advice; HWPOISON and SOFT_OFFLINE, which harm the machine, are left out."""
    return (
        MADV_NORMAL <= advice <= MADV_DONTNEED
        or MADV_FREE <= advice <= MADV_COLLAPSE
        or MADV_GUARD_INSTALL <= advice <= MADV_GUARD_REMOVE
    )


def advise_vma(mm: Mm, vma: Vma, start: int, end: int, advice: int) -> int:
    """The advice for a part of one VMA."""
    if vma.flags & VM_HUGETLB:
        return advise_reserved(mm, vma, start, end, advice)
    if advice in (MADV_WILLNEED, MADV_MERGEABLE, MADV_UNMERGEABLE):
        return 0
    if advice in (MADV_DONTNEED, MADV_DONTNEED_LOCKED, MADV_FREE, MADV_REMOVE, MADV_COLD, MADV_PAGEOUT, MADV_COLLAPSE):
        return give_back(mm, vma, start, end, advice)
    if advice == MADV_GUARD_INSTALL:
        return install_guards(mm, vma, start, end)
    if advice == MADV_GUARD_REMOVE:
        return remove_guards(mm, vma, start, end)
    flags = advised_flags(vma, advice)
    if flags < 0:
        return flags
    return -EAGAIN if modify(mm, vma, start, end, flags) is None else 0


def advise_reserved(mm: Mm, vma: Vma, start: int, end: int, advice: int) -> int:
    """The advice for reserved huge pages: pages go only by REMOVE and, whole ones, by DONTNEED (Linux 90e7e7f5ef3f,
    "mm: enable MADV_DONTNEED for hugetlb mappings", 5.18); a rest at the end stays."""
    if advice in (MADV_WILLNEED, MADV_MERGEABLE, MADV_UNMERGEABLE):
        return 0
    if advice in (MADV_DONTNEED, MADV_DONTNEED_LOCKED):
        if cuts(vma, start):
            return -EINVAL
        end &= ~(pool_of(vma).size - 1)
        if start < end:
            if mm.frames.observed:
                mm.tell(EVENT_DISCARD, start, end, 0, 0)
            mm.zap_pages(start, end)
        return 0
    if advice == MADV_REMOVE:
        if vma.flags & (VM_SHARED | VM_MAYWRITE) != VM_SHARED | VM_MAYWRITE:
            return -EACCES
        vma.inode.punch(vma.page_offset(start, mm.page_shift), vma.page_offset(end, mm.page_shift))
        return 0
    flags = vma.flags & ~VM_DONTDUMP if advice == MADV_DODUMP else advised_flags(vma, advice)
    if flags < 0 or flags == vma.flags:
        return flags if flags < 0 else 0
    if split_reserved(mm, vma, start, end):
        return -EINVAL
    return -EAGAIN if modify(mm, vma, start, end, flags) is None else 0


def give_back(mm: Mm, vma: Vma, start: int, end: int, advice: int) -> int:
    """What takes pages from a part of one VMA, at once or when the machine needs them."""
    if vma.flags & (VM_PFNMAP | VM_IO) or (vma.flags & VM_LOCKED and advice != MADV_DONTNEED_LOCKED):
        return -EINVAL
    if advice == MADV_FREE:
        if not vma.anonymous:
            return -EINVAL
        free_lazily(mm, vma, start, end)
    elif advice == MADV_REMOVE:
        if vma.file is None:
            return -EINVAL
        if vma.inode is None or vma.flags & (VM_SHARED | VM_MAYWRITE) != VM_SHARED | VM_MAYWRITE:
            return -EACCES
        vma.inode.punch(vma.page_offset(start, mm.page_shift), vma.page_offset(end, mm.page_shift))
    elif advice in (MADV_COLD, MADV_PAGEOUT):
        mm.machine.reclaim.advise(mm, start, end, advice == MADV_PAGEOUT)
    elif advice in (MADV_DONTNEED, MADV_DONTNEED_LOCKED):
        if mm.frames.observed:
            mm.tell(EVENT_DISCARD, start, end, 0, 0)
        mm.zap_pages(start, end)
        if mm.reclaims_tables:
            free_whole_tables(mm, start, end)
    return 0


def advised_flags(vma: Vma, advice: int) -> int:
    """The VMA's flags under an advice that only changes those, or -EINVAL."""
    flags = vma.flags
    if advice == MADV_NORMAL:
        return flags & ~(VM_RAND_READ | VM_SEQ_READ)
    if advice == MADV_RANDOM:
        return (flags & ~VM_SEQ_READ) | VM_RAND_READ
    if advice == MADV_SEQUENTIAL:
        return (flags & ~VM_RAND_READ) | VM_SEQ_READ
    if advice == MADV_DONTFORK:
        return flags | VM_DONTCOPY
    if advice == MADV_DOFORK:
        return -EINVAL if flags & VM_IO else flags & ~VM_DONTCOPY
    if advice == MADV_WIPEONFORK:
        return -EINVAL if vma.file is not None or flags & VM_SHARED else flags | VM_WIPEONFORK
    if advice == MADV_KEEPONFORK:
        return flags & ~VM_WIPEONFORK
    if advice == MADV_DONTDUMP:
        return flags | VM_DONTDUMP
    if advice == MADV_DODUMP:
        return -EINVAL if flags & (VM_IO | VM_DONTEXPAND | VM_PFNMAP) else flags & ~VM_DONTDUMP
    if advice == MADV_HUGEPAGE:
        return (flags & ~VM_NOHUGEPAGE) | VM_HUGEPAGE
    if advice == MADV_NOHUGEPAGE:
        return (flags & ~VM_HUGEPAGE) | VM_NOHUGEPAGE
    return -EINVAL


def free_whole_tables(mm: Mm, start: int, end: int) -> None:
    """Free the empty last-level tables whose whole span lies in [start, end), zapped (CONFIG_PT_RECLAIM)."""
    at = (start + mm.pages.span - 1) & ~(mm.pages.span - 1)
    while at + mm.pages.span <= end:
        table = mm.pages.find(at)
        if table and is_empty(table, 1 << mm.pages.bits):
            mm.pages.free_table(mm.pages.upper(at))
        at = mm.pages.reach


def is_empty(table: int, entries: int) -> bool:
    """Whether no entry of a table says anything."""
    for i in range(entries):
        if load64(table + 8 * i):
            return False
    return True
