# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""mlock, mlock2, munlock, mlockall, munlockall (mm/mlock.c)."""

from __future__ import annotations

import cython

from memtwin.kernel.mm import Mm

if not cython.compiled:
    from memtwin.kernel.flags import (
        EAGAIN,
        EFAULT,
        EINVAL,
        ENOMEM,
        EPERM,
        MCL_CURRENT,
        MCL_FUTURE,
        MCL_ONFAULT,
        VM_DONTEXPAND,
        VM_IO,
        VM_LOCKED,
        VM_LOCKONFAULT,
        VM_PFNMAP,
    )
    from memtwin.kernel.mapping import modify
    from memtwin.kernel.populate import populate
    from memtwin.kernel.window import ALL_ONES


def do_mlock(mm: Mm, address: int, length: int, bits: int) -> int:
    """mlock(2) and mlock2(2), bits being VM_LOCKED and perhaps VM_LOCKONFAULT: 0 or -errno.

    The range is rounded outwards. What cannot be brought in is -ENOMEM, the mappings being locked all the same.
    """
    page = mm.page_size - 1
    if mm.memlock_limit == 0:
        return -EPERM
    length = (length + (address & page) + page) & ~page & ALL_ONES
    address &= ~page
    end = (address + length) & ALL_ONES
    wanted = (length >> mm.page_shift) + mm.locked_vm
    limit = mm.memlock_limit >> mm.page_shift
    if wanted > limit and wanted - locked_within(mm, address, end) > limit:
        return -ENOMEM
    error = change_locks(mm, address, end, bits)
    if error:
        return error
    error = populate(mm, address, end, False)
    if error == -EFAULT:
        return -ENOMEM
    return -EAGAIN if error == -ENOMEM else error


def do_munlock(mm: Mm, address: int, length: int) -> int:
    """munlock(2): 0 or -errno; the range is rounded outwards."""
    page = mm.page_size - 1
    length = (length + (address & page) + page) & ~page & ALL_ONES
    address &= ~page
    return change_locks(mm, address, (address + length) & ALL_ONES, 0)


def change_locks(mm: Mm, start: int, end: int, bits: int) -> int:
    """Give the mappings of [start, end) these lock bits; 0 or -errno. What lies before a hole is changed."""
    if end < start:
        return -EINVAL
    while start < end:
        vma = mm.find(start) if start < mm.task_size else None
        if vma is None or vma.start > start:
            return -ENOMEM
        stop = vma.end if vma.end < end else end
        flags = (vma.flags & ~(VM_LOCKED | VM_LOCKONFAULT)) | bits
        special = vma.flags & (VM_IO | VM_PFNMAP | VM_DONTEXPAND)
        if flags != vma.flags and not special and modify(mm, vma, start, stop, flags) is None:
            return -ENOMEM
        start = stop
    return 0


def locked_within(mm: Mm, start: int, end: int) -> int:
    """How many pages of [start, end) are locked already (count_mm_mlocked_page_nr)."""
    count = 0
    while start < end:
        vma = mm.find(start) if start < mm.task_size else None
        if vma is None or vma.start >= end:
            break
        if start < vma.start:
            start = vma.start
        stop = vma.end if vma.end < end else end
        if vma.flags & VM_LOCKED:
            count += (stop - start) >> mm.page_shift
        start = stop
    return count


def do_mlockall(mm: Mm, flags: int) -> int:
    """mlockall(2): 0 or -errno."""
    if flags == 0 or flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) or flags == MCL_ONFAULT:
        return -EINVAL
    if mm.memlock_limit == 0:
        return -EPERM
    if flags & MCL_CURRENT and mm.total_vm > mm.memlock_limit >> mm.page_shift:
        return -ENOMEM
    bits = VM_LOCKED | (VM_LOCKONFAULT if flags & MCL_ONFAULT else 0)
    mm.def_flags = (mm.def_flags & ~(VM_LOCKED | VM_LOCKONFAULT)) | (bits if flags & MCL_FUTURE else 0)
    if flags & MCL_CURRENT:
        lock_all(mm, bits)
        populate(mm, 0, mm.task_size, True)
    return 0


def lock_all(mm: Mm, bits: int) -> None:
    """Give all mappings these lock bits; munlockall(2) with none."""
    vma = mm.tree.first
    while vma is not None:
        if not vma.flags & (VM_IO | VM_PFNMAP | VM_DONTEXPAND):
            flags = (vma.flags & ~(VM_LOCKED | VM_LOCKONFAULT)) | bits
            vma = modify(mm, vma, vma.start, vma.end, flags) or vma
        vma = vma.next
