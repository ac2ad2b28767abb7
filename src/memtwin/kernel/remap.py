# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""mremap (mm/mremap.c)."""

from __future__ import annotations

import cython

from memtwin.kernel.mm import Mm
from memtwin.kernel.vma import Vma

if not cython.compiled:
    from memtwin.hostmem import load8, load64, store8, store64
    from memtwin.kernel.flags import (
        BYTES,
        EFAULT,
        EINVAL,
        ENOMEM,
        MREMAP_DONTUNMAP,
        MREMAP_FIXED,
        MREMAP_MAYMOVE,
        PTE_MAPPED,
        PTE_ZERO,
    )
    from memtwin.kernel.mapping import (
        fits_right,
        merge_new,
        take_chain,
        unmap_range,
        unmapped_area,
    )


def do_mremap(mm: Mm, address: int, old_length: int, new_length: int, flags: int, new_address: int) -> int:
    """mremap(2): the address, or -errno."""
    page = mm.page_size - 1
    if flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP) or address & page:
        return -EINVAL
    if new_length > mm.task_size or old_length > mm.task_size:
        return -EINVAL
    old_length = (old_length + page) & ~page
    new_length = (new_length + page) & ~page
    if new_length == 0:
        return -EINVAL
    fixed = flags & MREMAP_FIXED
    if fixed:
        if not flags & MREMAP_MAYMOVE or new_address & page or new_address > mm.task_size - new_length:
            return -EINVAL
        if address + old_length > new_address and new_address + new_length > address:
            return -EINVAL
    vma = mm.find(address)
    if vma is None or vma.start > address:
        return -EFAULT
    if not fixed and new_length <= old_length:
        if new_length < old_length:
            unmap_range(mm, address + new_length, address + old_length)
        return address
    if address + old_length > vma.end:
        return -EFAULT
    if fixed:
        unmap_range(mm, new_address, new_address + new_length)
        if new_length < old_length:
            unmap_range(mm, address + new_length, address + old_length)
            old_length = new_length
        vma = mm.find(address)
    else:
        if expand_in_place(mm, vma, address, old_length, new_length):
            return address
        if not flags & MREMAP_MAYMOVE:
            return -ENOMEM
        pgoff = vma.page_offset(address, mm.page_shift) if vma.file is not None else 0
        area = unmapped_area(mm, 0, new_length, vma.file, pgoff, vma.file is None)
        if area < 0:
            return area
        new_address = area
    return move_vma(mm, vma, address, old_length, new_length, new_address, flags)


def expand_in_place(mm: Mm, vma: Vma, address: int, old_length: int, new_length: int) -> bool:
    """Grow the VMA over the free range behind it, if its last page is the range's last and there is room."""
    if address + old_length != vma.end:
        return False
    end = vma.end + new_length - old_length
    following = vma.next
    if end > mm.task_size or (following is not None and end > following.start):
        return False
    pgoff_end = vma.page_offset(end, mm.page_shift)
    joined = following is not None and fits_right(mm, following, end, vma.flags, pgoff_end, vma.file, vma)
    if joined:
        take_chain(vma, following)
        end = following.end
        mm.drop(following)
    mm.set_borders(vma, vma.start, end)
    return True


def move_vma(mm: Mm, vma: Vma, address: int, old_length: int, new_length: int, new_address: int, flags: int) -> int:
    """Move the mapping and its pages; the old range is unmapped."""
    pgoff = vma.page_offset(address, mm.page_shift)
    if vma.file is None and vma.anon is None:
        pgoff = new_address >> mm.page_shift
    end = new_address + new_length
    following = mm.tree.find(new_address)
    previous = following.previous if following is not None else mm.tree.last
    moved = merge_new(mm, previous, following, new_address, end, vma.flags, pgoff, vma.file, vma)
    if moved is None:
        moved = vma.part(new_address, end)
        moved.pgoff = pgoff
        mm.add(moved)
    move_pages(mm, address, address + old_length, new_address)
    unmap_range(mm, address, address + old_length)
    return new_address


def move_pages(mm: Mm, start: int, end: int, to: int) -> None:
    """Move the PTEs of [start, end), and the bytes in the window, to `to`. No fault, no copy for the process."""
    at = start
    while at < end:
        table = mm.pages.find(at)
        stop = mm.pages.reach if mm.pages.reach < end else end
        if table:
            while at < stop:
                entry = mm.pages.entry(at)
                if load64(entry):
                    target = mm.pages.make(to + (at - start))
                    move_entry(mm, mm.pages.entry(at), target, at, to + (at - start))
                at += mm.page_size
        at = stop


def move_entry(mm: Mm, source: int, target: int, address: int, to: int) -> None:
    """Move one PTE; bytes that lie in the window go along."""
    pte = load64(source)
    store64(source, 0)
    store64(target, pte)
    if pte & PTE_MAPPED and not pte & PTE_ZERO:
        mm.move_bytes(pte >> mm.page_shift, address, to)
    store8(mm.slot(address), load8(mm.slot(address)) & BYTES)
    mm.grant(to, pte)
