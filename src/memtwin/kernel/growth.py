# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Stacks that grow down to where they are accessed (mm/vma.c, expand_downwards)."""

from __future__ import annotations

from typing import Any

import cython

from memtwin.kernel.mm import Mm

if not cython.compiled:
    from memtwin.kernel.anon import prepare_anon
    from memtwin.kernel.flags import (
        EVENT_STACK,
        GROWS,
        IN_GUARD_GAP,
        NO_STACK,
        OVER_LIMIT,
        VM_ACCESS,
        VM_ACCOUNT,
        VM_GROWSDOWN,
        VM_LOCKED,
    )
    from memtwin.kernel.limits import may_commit, may_expand


def growth(mm: Mm, vma: Any, address: int) -> int:
    """Whether `vma`, the first above `address`, may grow down to the page of that address: GROWS, or why not.

    NO_STACK: it does not grow down, or not so low. IN_GUARD_GAP: it would come within the guard gap of another
    accessible mapping that is no stack. OVER_LIMIT: RLIMIT_STACK, another limit or the overcommit rule is against it.
    """
    if vma is None or not vma.flags & VM_GROWSDOWN:
        return NO_STACK
    address &= ~(mm.page_size - 1)
    if address < mm.mmap_min_addr:
        return NO_STACK
    previous = vma.previous
    if (
        previous is not None and not previous.flags & VM_GROWSDOWN and previous.flags & VM_ACCESS
        and address - previous.end < mm.guard_gap
    ):  # fmt: skip
        return IN_GUARD_GAP
    pages = (vma.start - address) >> mm.page_shift
    if pages > vma.pgoff or vma.end - address > mm.stack_limit:
        return OVER_LIMIT
    if not may_expand(mm, vma.flags, pages) or (vma.flags & VM_ACCOUNT and not may_commit(mm, pages)):
        return OVER_LIMIT
    if vma.flags & VM_LOCKED and mm.locked_vm + pages > mm.memlock_limit >> mm.page_shift:
        return OVER_LIMIT
    return GROWS


def grown(mm: Mm, vma: Any, address: int) -> Any:
    """`vma`, the first above `address`, grown down to that page; None when it does not grow or may not.

    The AnonVma that a stack in reach gets stays, even if a limit then refuses.
    """
    answer = growth(mm, vma, address)
    if answer in (NO_STACK, IN_GUARD_GAP):
        return None
    prepare_anon(mm, vma)
    if answer == OVER_LIMIT:
        return None
    address &= ~(mm.page_size - 1)
    if mm.frames.observed:
        mm.tell(EVENT_STACK, address, vma.start, 0, 0)
    mm.set_borders(vma, address, vma.end)
    return vma
