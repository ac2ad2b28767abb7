# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Anonymous pages and the AnonVmas they belong to (mm/rmap.c)."""

from __future__ import annotations

from typing import Any

import cython

from memtwin.kernel.mm import Mm
from memtwin.kernel.vma import Vma

if not cython.compiled:
    from memtwin.hostmem import store16, store32, store64
    from memtwin.kernel.flags import FRAME_ANON, FRAME_EXCLUSIVE, VM_ACCESS, VM_MAYBE_GUARD
    from memtwin.kernel.frames import born
    from memtwin.kernel.policies.policy import ANON


def new_anon_page(mm: Mm, vma: Vma, pfn: int, address: int) -> None:
    """The frame becomes the anonymous page at `address`, mapped once, by one PTE that nobody shares."""
    frames = mm.frames
    store32(frames.mapped_at + 4 * pfn, 1)
    store16(frames.flags_at + 2 * pfn, FRAME_ANON | FRAME_EXCLUSIVE)
    store32(frames.owner_at + 4 * pfn, vma.anon.number)
    store64(frames.index_at + 8 * pfn, vma.page_offset(address, mm.page_shift))
    mm.anon_pages += 1
    born(frames, mm.group, pfn, ANON)


def prepare_anon(mm: Mm, vma: Vma) -> None:
    """The VMA gets an AnonVma before its first own page: that of a neighbour it could be one with, or a new one.

    The neighbour above is asked first (mm/vma.c, find_mergeable_anon_vma).
    """
    if vma.anon is not None:
        return
    anon = reusable(mm, vma, vma.next, vma.next)
    if anon is None:
        anon = reusable(mm, vma.previous, vma, vma.previous)
    if anon is None:
        anon = mm.machine.new_anon()
    vma.join((anon,), anon)


def reusable(mm: Mm, left: Any, right: Any, giver: Any) -> Any:
    """The AnonVma of `giver`, one of two neighbours, if they differ in nothing but the accesses they allow."""
    if left is None or right is None or giver.anon is None or len(giver.chain) != 1:
        return None
    differing = (left.flags ^ right.flags) & ~(VM_ACCESS | VM_MAYBE_GUARD)
    if left.end != right.start or left.file is not right.file or differing:
        return None
    if right.pgoff != left.page_offset(right.start, mm.page_shift):
        return None
    return giver.anon
