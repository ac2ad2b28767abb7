# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Stacks that grow down to where they are accessed (mm/vma.c, expand_downwards)."""

from __future__ import annotations

from typing import Any

import cython

from memtwin.kernel.mm import Mm

if not cython.compiled:
    from memtwin.kernel.anon import prepare_anon
    from memtwin.kernel.flags import EVENT_STACK, VM_ACCESS, VM_ACCOUNT, VM_GROWSDOWN, VM_LOCKED
    from memtwin.kernel.limits import may_commit, may_expand


def grown(mm: Mm, vma: Any, address: int) -> Any:
    """`vma`, the first above `address`, grown down to that page; None when it does not grow or may not.

    It may not come within the guard gap of another accessible mapping that is no stack, nor be larger than
    RLIMIT_STACK. The AnonVma it gets stays, even if the limit then refuses.
    """
    if vma is None or not vma.flags & VM_GROWSDOWN:
        return None
    address &= ~(mm.page_size - 1)
    if address < mm.mmap_min_addr:
        return None
    previous = vma.previous
    if (
        previous is not None and not previous.flags & VM_GROWSDOWN and previous.flags & VM_ACCESS
        and address - previous.end < mm.guard_gap
    ):  # fmt: skip
        return None
    prepare_anon(mm, vma)
    pages = (vma.start - address) >> mm.page_shift
    if pages > vma.pgoff or vma.end - address > mm.stack_limit:
        return None
    if not may_expand(mm, vma.flags, pages) or (vma.flags & VM_ACCOUNT and not may_commit(mm, pages)):
        return None
    if vma.flags & VM_LOCKED and mm.locked_vm + pages > mm.memlock_limit >> mm.page_shift:
        return None
    if mm.frames.observed:
        mm.tell(EVENT_STACK, address, vma.start, 0, 0)
    mm.set_borders(vma, address, vma.end)
    return vma
