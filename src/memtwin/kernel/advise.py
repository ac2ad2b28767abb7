# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""madvise (mm/madvise.c)."""

from __future__ import annotations

import cython

from memtwin.kernel.mm import Mm
from memtwin.kernel.vma import Vma

if not cython.compiled:
    from memtwin.kernel.flags import (
        EINVAL,
        ENOMEM,
        MADV_DODUMP,
        MADV_DOFORK,
        MADV_DONTDUMP,
        MADV_DONTFORK,
        MADV_DONTNEED,
        MADV_HUGEPAGE,
        MADV_KEEPONFORK,
        MADV_NOHUGEPAGE,
        MADV_NORMAL,
        MADV_RANDOM,
        MADV_SEQUENTIAL,
        MADV_WIPEONFORK,
        VM_DONTCOPY,
        VM_DONTDUMP,
        VM_HUGEPAGE,
        VM_IO,
        VM_LOCKED,
        VM_NOHUGEPAGE,
        VM_RAND_READ,
        VM_SEQ_READ,
        VM_SHARED,
        VM_WIPEONFORK,
    )
    from memtwin.kernel.mapping import modify


def do_madvise(mm: Mm, address: int, length: int, advice: int) -> int:
    """madvise(2): 0 or -errno; behind a hole it goes on and answers -ENOMEM at the end."""
    page = mm.page_size - 1
    if address & page:
        return -EINVAL
    if length > mm.task_size or address > mm.task_size:
        return -EINVAL if length else 0
    end = address + ((length + page) & ~page)
    if end == address:
        return 0
    error = 0
    while address < end:
        vma = mm.find(address)
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


def advise_vma(mm: Mm, vma: Vma, start: int, end: int, advice: int) -> int:
    """The advice for a part of one VMA."""
    if advice == MADV_DONTNEED:
        if vma.flags & VM_LOCKED:
            return -EINVAL
        mm.zap(start, end)
        if mm.reclaims_tables:
            mm.free_whole_tables(start, end)
        return 0
    flags = advised_flags(vma, advice)
    if flags < 0:
        return flags
    modify(mm, vma, start, end, flags)
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
        return flags & ~VM_DONTDUMP
    if advice == MADV_HUGEPAGE:
        return (flags & ~VM_NOHUGEPAGE) | VM_HUGEPAGE
    if advice == MADV_NOHUGEPAGE:
        return (flags & ~VM_HUGEPAGE) | VM_NOHUGEPAGE
    return -EINVAL
