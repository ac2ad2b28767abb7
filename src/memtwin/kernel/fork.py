# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""fork: a child's address space (kernel/fork.c, dup_mmap; mm/memory.c, copy_page_range; mm/rmap.c, anon_vma_fork).

Only VMAs with an AnonVma, guard markers or the kernel's own pages have their page tables copied: what the others hold
the child finds again by faults. Pages
of private mappings become read-only on both sides and lose FRAME_EXCLUSIVE, so that the next write copies them.
"""

from __future__ import annotations

import cython

from memtwin.kernel.mm import Mm
from memtwin.kernel.vma import Vma

if not cython.compiled:
    from memtwin.hostmem import load8, load16, load32, load64, store8, store16, store32, store64
    from memtwin.kernel.flags import (
        FRAME_ANON,
        FRAME_EXCLUSIVE,
        FRAME_HUGE,
        HUGE_TABLE,
        PTE_ACCESSED,
        PTE_DIRTY,
        PTE_MAPPED,
        PTE_SWAP,
        PTE_SWAP_EXCLUSIVE,
        PTE_WRITABLE,
        PTE_ZERO,
        TOUCHED,
        VM_ACCOUNT,
        VM_DONTCOPY,
        VM_HUGETLB,
        VM_LOCKED,
        VM_LOCKONFAULT,
        VM_MAYBE_GUARD,
        VM_MAYWRITE,
        VM_PFNMAP,
        VM_SHARED,
        VM_WIPEONFORK,
    )
    from memtwin.kernel.hugetlb import share_reserved
    from memtwin.kernel.limits import may_commit
    from memtwin.kernel.vma import new_vma
    from memtwin.memory import WRITE


def copy_space(parent: Mm, child: Mm) -> bool:
    """Fill `child`, which is empty, with what fork gives it; False when no frame is free for a table.

    The caller has asked `may_fork`. Not copied: VM_DONTCOPY mappings, locks, promises of reserved huge pages, and the
    pages of VM_WIPEONFORK mappings.
    """
    child.maps_reserved = parent.maps_reserved
    vma = parent.tree.first
    while vma is not None:
        if not vma.flags & VM_DONTCOPY:
            new = new_vma(vma.start, vma.end, vma.flags & ~(VM_LOCKED | VM_LOCKONFAULT), vma.pgoff, vma.file, child)
            new.label = vma.label
            child.add(new)
            if not vma.flags & VM_WIPEONFORK and (vma.anon is not None or vma.flags & (VM_PFNMAP | VM_MAYBE_GUARD)):
                inherit(child, vma, new)
                if vma.flags & VM_HUGETLB:
                    if not share_reserved(parent, child, vma):
                        return False
                    vma = vma.next
                    continue
                root, top = parent.pages.root, child.pages.root
                if not copy_tables(parent, child, vma, root, top, parent.pages.levels, vma.start, vma.end):
                    return False
        vma = vma.next
    return True


def may_fork(parent: Mm) -> bool:
    """Whether the machine promises a child all that the parent's VM_ACCOUNT mappings span (dup_mmap).

    Each mapping is asked for by itself, on top of those before it.
    """
    promised = parent.frames.committed
    allowed = True
    vma = parent.tree.first
    while vma is not None and allowed:
        if vma.flags & (VM_DONTCOPY | VM_ACCOUNT) == VM_ACCOUNT:
            pages = (vma.end - vma.start) >> parent.page_shift
            allowed = may_commit(parent, pages)
            parent.frames.committed += pages
        vma = vma.next
    parent.frames.committed = promised
    return allowed


def inherit(child: Mm, vma: Vma, new: Vma) -> None:
    """The child's VMA belongs to all AnonVmas of the parent's, and pages born in it to one of its own.

    Instead of a new one it takes an AnonVma of the chain whose own VMAs are gone and that has one child at most
    (anon_vma_clone, Linux 7a3ef208e662, "mm: prevent endless growth of anon_vma hierarchy", 3.19).
    """
    if vma.anon is None:
        return
    for anon in reversed(vma.chain):
        if anon.active == 0 and anon.children < 2:
            new.join(vma.chain, anon)
            return
    own = child.machine.new_anon()
    own.descend(vma.anon)
    new.join((own, *vma.chain), own)


def copy_tables(parent: Mm, child: Mm, vma: Vma, source: int, target: int, level: int, start: int, end: int) -> bool:
    """Copy what [start, end) of the parent's table `source` leads to into the child's table `target`.

    A lower table is made for each that the parent has, even if none of its entries lies in the range.
    """
    pages = parent.pages
    if level == 1:
        copy_entries(parent, child, vma, source, target, start, end)
        return True
    shift = pages.page_shift + pages.bits * (level - 1)
    while start < end:
        beyond = ((start >> shift) + 1) << shift
        stop = beyond if beyond < end else end
        index = 8 * ((start >> shift) & ((1 << pages.bits) - 1))
        entry = load64(source + index)
        if entry:
            lower = parent.frames.storage + (entry >> pages.page_shift << pages.page_shift)
            made = load64(target + index)
            if made == 0:
                table = child.pages.new_table()
                if table == 0:
                    return False
                made = (table - child.frames.storage) | (entry & ((1 << pages.page_shift) - 1))
                store64(target + index, made)
                if made & HUGE_TABLE:
                    child.adopt_huge(load64(lower))
            table = child.frames.storage + (made >> pages.page_shift << pages.page_shift)
            child.whole = entry & HUGE_TABLE != 0
            if not copy_tables(parent, child, vma, lower, table, level - 1, start, stop):
                return False
            child.whole = False
        start = stop
    return True


def copy_entries(parent: Mm, child: Mm, vma: Vma, source: int, target: int, start: int, end: int) -> None:
    """`copy_tables` in a table of the last level."""
    shift = parent.pages.page_shift
    first = 8 * ((start >> shift) & ((1 << parent.pages.bits) - 1))
    for i in range((end - start) >> shift):
        at = source + first + 8 * i
        if load64(at):
            store64(target + first + 8 * i, share_page(parent, child, vma, at, start + (i << shift)))


def share_page(parent: Mm, child: Mm, vma: Vma, at: int, address: int) -> int:
    """The child's entry for what the parent's entry at host address `at` says; the parent's loses its write access."""
    pte = load64(at)
    if pte & PTE_SWAP:
        parent.swap.hold(pte >> parent.page_shift, 1)
        child.swap_pages += 1
        pte &= ~PTE_SWAP_EXCLUSIVE
        store64(at, pte)
    if not pte & PTE_MAPPED:
        return pte
    if not pte & PTE_ZERO:
        pfn = pte >> parent.page_shift
        frames = parent.frames
        store32(frames.mapped_at + 4 * pfn, load32(frames.mapped_at + 4 * pfn) + 1)
        flags = load16(frames.flags_at + 2 * pfn)
        if flags & FRAME_ANON:
            store16(frames.flags_at + 2 * pfn, flags & ~FRAME_EXCLUSIVE)
            if flags & FRAME_HUGE and not child.whole:
                child.folio_add(pfn, 1)
        child.count_page(flags, 1)
    if pte & PTE_WRITABLE and vma.flags & (VM_SHARED | VM_MAYWRITE) == VM_MAYWRITE:
        pte &= ~PTE_WRITABLE
        store64(at, pte)
        slot = parent.slot(address)
        store8(slot, load8(slot) & ~(WRITE | TOUCHED))
    if vma.flags & VM_SHARED:
        pte &= ~PTE_DIRTY
    return pte & ~PTE_ACCESSED
