# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Guard regions: pages that stop every access without a VMA of their own (MADV_GUARD_INSTALL, since Linux 6.13)."""

from __future__ import annotations

import cython

from memtwin.kernel.mm import Mm
from memtwin.kernel.vma import Vma

if not cython.compiled:
    from memtwin.hostmem import load64, store64
    from memtwin.kernel.anon import prepare_anon
    from memtwin.kernel.flags import (
        EINVAL,
        ENOMEM,
        PTE_GUARD,
        VM_DONTEXPAND,
        VM_IO,
        VM_LOCKED,
        VM_MAYBE_GUARD,
        VM_PFNMAP,
    )


def install_guards(mm: Mm, vma: Vma, start: int, end: int) -> int:
    """MADV_GUARD_INSTALL: what is mapped goes, markers come; 0 or -errno. Fork will copy the VMA's tables."""
    if vma.flags & (VM_LOCKED | VM_IO | VM_PFNMAP | VM_DONTEXPAND):
        return -EINVAL
    if mm.profile.marks_guards:
        vma.flags |= VM_MAYBE_GUARD
    if vma.anonymous or not mm.profile.marks_guards:
        prepare_anon(mm, vma)
    mm.zap_pages(start, end)
    while start < end:
        at = mm.pages.make(start)
        if at == 0:
            return -ENOMEM
        store64(at, PTE_GUARD)
        start += mm.page_size
    return 0


def remove_guards(mm: Mm, vma: Vma, start: int, end: int) -> int:
    """MADV_GUARD_REMOVE: the markers go; 0 or -errno."""
    if vma.flags & (VM_IO | VM_PFNMAP | VM_DONTEXPAND):
        return -EINVAL
    while start < end:
        table = mm.pages.find(start)
        stop = mm.pages.reach if mm.pages.reach < end else end
        while table and start < stop:
            at = mm.pages.entry(start)
            if load64(at) & PTE_GUARD:
                store64(at, 0)
            start += mm.page_size
        start = stop
    return 0
