# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Swap-in: a fault whose PTE refers to a swap slot (mm/memory.c, do_swap_page; mm/swap_state.c)."""

from __future__ import annotations

import cython

from memtwin.kernel.mm import Mm
from memtwin.kernel.vma import Vma

if not cython.compiled:
    from memtwin.hostmem import copy, load8, load16, load32, load64, store32, store64
    from memtwin.kernel.flags import (
        EVENT_SWAP_IN,
        FRAME_ANON,
        FRAME_EXCLUSIVE,
        FRAME_SWAPCACHE,
        NO_FRAME,
        PTE_ACCESSED,
        PTE_DIRTY,
        PTE_PRESENT,
        PTE_SWAP_EXCLUSIVE,
        PTE_USER,
        PTE_WRITABLE,
        SIGKILL,
        VM_LOCKED,
        VM_WRITE,
    )
    from memtwin.kernel.frames import born
    from memtwin.kernel.policies.policy import ANON
    from memtwin.memory import WRITE


def swap_in(mm: Mm, vma: Vma, at: int, address: int, access: int) -> int:
    """The PTE refers to a swap slot: its page comes back (do_swap_page).

    A major fault if it has to be read, a minor one if it is in the swap cache. A page that is this PTE's alone becomes
    writable again and stays clean until it is written. Returns 0, what ends the process, or -1: the page is there, but
    others have it too, so that the write that asked for it needs a copy.
    """
    frames = mm.frames
    swap = mm.swap
    pte = load64(at)
    slot = pte >> mm.page_shift
    exclusive = pte & PTE_SWAP_EXCLUSIVE or (swap.references(slot) == 1 and swap.cached(slot) == 0)
    pfn = swap.cached(slot)
    if pfn == 0:
        pfn = read_slot(mm, slot, address)
        if pfn == NO_FRAME:
            return SIGKILL << 8
        mm.maj_flt += 1
    else:
        mm.min_flt += 1
    if frames.observed:
        mm.tell(EVENT_SWAP_IN, address, address + mm.page_size, pfn, slot)
    store32(frames.mapped_at + 4 * pfn, frames.mapped(pfn) + 1)
    swap.drop(slot)
    mm.anon_pages += 1
    mm.swap_pages -= 1
    flags = load16(frames.flags_at + 2 * pfn)
    if flags & FRAME_SWAPCACHE and (swap.full() or vma.flags & VM_LOCKED or access == WRITE):
        exclusive = frames.mapped(pfn) == 1 and swap.uncache(pfn)
        flags = load16(frames.flags_at + 2 * pfn)
    pte = pfn << mm.page_shift | PTE_PRESENT | PTE_USER | PTE_ACCESSED
    if exclusive:
        frames.set_flags(pfn, flags | FRAME_EXCLUSIVE)
        if vma.flags & VM_WRITE:
            pte |= PTE_WRITABLE | (PTE_DIRTY if access == WRITE else 0)
    store64(at, pte)
    mm.grant(address, pte)
    return -1 if access == WRITE and not exclusive else 0


def read_slot(mm: Mm, slot: int, address: int) -> int:
    """Read a slot's page into a frame, not mapped yet; NO_FRAME. It joins the swap cache if others refer to the slot.

    A page of its own gets its bytes in the window of `mm`, one of the swap cache in `storage`.
    """
    frames = mm.frames
    swap = mm.swap
    pfn = frames.alloc(0)
    if pfn == NO_FRAME:
        return NO_FRAME
    frames.set_flags(pfn, FRAME_ANON)
    store32(frames.owner_at + 4 * pfn, load32(swap.owner_at + 4 * slot))
    store64(frames.index_at + 8 * pfn, load64(swap.index_at + 8 * slot))
    if swap.references(slot) > 1:
        swap.cache(slot, pfn)
    if load8(swap.bytes_at + slot):
        home = mm.claim(address, pfn) if swap.references(slot) == 1 else frames.own_bytes(pfn)
        copy(home, swap.storage + (slot << mm.page_shift), mm.page_size)
    swap.pages_in += 1
    born(frames, mm.group, pfn, ANON)
    return pfn
