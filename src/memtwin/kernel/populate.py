# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Pages brought in ahead of their use: MAP_POPULATE, mlock, MADV_POPULATE_READ and _WRITE (mm/gup.c).

The kernel accesses the pages in the process's stead, and the faults count as the process's own.
"""

from __future__ import annotations

import cython

from memtwin.kernel.mm import Mm
from memtwin.kernel.vma import Vma

if not cython.compiled:
    from memtwin.hostmem import load16, store16
    from memtwin.kernel.fault import fault_page
    from memtwin.kernel.flags import (
        EFAULT,
        EINVAL,
        ENOMEM,
        FRAME_DIRTY,
        PTE_DIRTY,
        PTE_PRESENT,
        PTE_WRITABLE,
        SIGKILL,
        VM_ACCESS,
        VM_IO,
        VM_LOCKONFAULT,
        VM_PFNMAP,
        VM_PKEY,
        VM_READ,
        VM_SHARED,
        VM_WRITE,
    )
    from memtwin.memory import READ, WRITE


def populate(mm: Mm, start: int, end: int, ignore_errors: bool) -> int:
    """Bring in what the mappings of [start, end) allow; 0, or the first error if none is ignored (__mm_populate)."""
    while start < end:
        vma = mm.find(start)
        if vma is None or vma.start >= end:
            break
        if start < vma.start:
            start = vma.start
        stop = vma.end if vma.end < end else end
        if not vma.flags & (VM_IO | VM_PFNMAP):
            error = populate_vma(mm, vma, start, stop)
            if error and not ignore_errors:
                return error
        start = stop
    return 0


def populate_vma(mm: Mm, vma: Vma, start: int, end: int) -> int:
    """Bring in the pages of a part of one VMA, those that may be written privately by a write; 0 or -errno.

    Nothing for VM_LOCKONFAULT.
    """
    if vma.flags & VM_LOCKONFAULT:
        return 0
    if not vma.flags & VM_ACCESS or vma.flags & VM_PKEY:
        return -EFAULT
    return fault_in(mm, vma, start, end, WRITE if vma.flags & (VM_WRITE | VM_SHARED) == VM_WRITE else READ)


def fault_in(mm: Mm, vma: Vma, start: int, end: int, access: int) -> int:
    """Fault in each page of [start, end) that the access would fault on; 0, -EFAULT (a signal) or -ENOMEM (no RAM)."""
    while start < end:
        pte = mm.pages.pte(start)
        if not pte & PTE_PRESENT or (access == WRITE and not pte & PTE_WRITABLE):
            code = fault_page(mm, vma, start, access)
            if code:
                return -ENOMEM if code >> 8 == SIGKILL else -EFAULT
        elif access == WRITE and not pte & PTE_DIRTY:
            flags_at = mm.frames.flags_at + 2 * (pte >> mm.page_shift)
            store16(flags_at, load16(flags_at) | FRAME_DIRTY)
        start += mm.page_size
    return 0


def advise_populate(mm: Mm, start: int, end: int, access: int) -> int:
    """MADV_POPULATE_READ and _WRITE: 0 or -errno, what lies before the error being brought in.

    -EINVAL where the mapping does not allow it, -EFAULT where it would be a signal, -ENOMEM where nothing is mapped.
    """
    needed = VM_WRITE if access == WRITE else VM_READ
    while start < end:
        vma = mm.find(start)
        if vma is None or vma.start > start:
            return -ENOMEM
        if not vma.flags & needed or vma.flags & (VM_IO | VM_PFNMAP):
            return -EINVAL
        stop = vma.end if vma.end < end else end
        error = fault_in(mm, vma, start, stop, access)
        if error:
            return error
        start = stop
    return 0
