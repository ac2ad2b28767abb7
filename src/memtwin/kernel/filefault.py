# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Page faults in mappings of files (mm/memory.c, do_fault; mm/filemap.c)."""

from __future__ import annotations

import cython

from memtwin.kernel.mm import Mm
from memtwin.kernel.vma import Vma

if not cython.compiled:
    from memtwin.hostmem import copy, load16, load32, load64, store16, store32, store64
    from memtwin.kernel.anon import new_anon_page, prepare_anon
    from memtwin.kernel.flags import (
        BUS_ADRERR,
        EVENT_FILE,
        EVENT_FILE_COPY,
        EVENT_FILE_READ,
        FRAME_DIRTY,
        NO_FRAME,
        PTE_ACCESSED,
        PTE_DIRTY,
        PTE_PRESENT,
        PTE_USER,
        PTE_WRITABLE,
        SIGBUS,
        SIGKILL,
        VM_SHARED,
        VM_WRITE,
    )
    from memtwin.memory import READ, WRITE

    READ_AROUND = 32


def file_fault(mm: Mm, vma: Vma, address: int, access: int) -> int:
    """Map the file's page at `address`, or on a private write a copy of it; SIGBUS past the file's end."""
    inode = vma.inode
    if mm.pages.make_upper(address) == 0:
        return SIGKILL << 8
    index = vma.page_offset(address, mm.page_shift)
    private_write = access == WRITE and not vma.flags & VM_SHARED
    if private_write:
        prepare_anon(mm, vma)
    elif access == READ and fault_around(mm, vma, address, index):
        mm.min_flt += 1
        if mm.frames.observed:
            mm.tell(EVENT_FILE, address, address + mm.page_size, inode.find(index), 0)
        return 0
    if index >= inode.limit():
        return SIGBUS << 8 | BUS_ADRERR
    major = mm.maj_flt
    pfn = obtain(mm, vma, index)
    if pfn == NO_FRAME:
        return SIGKILL << 8
    if mm.maj_flt == major:
        mm.min_flt += 1
    if mm.frames.observed:
        code = EVENT_FILE if mm.maj_flt == major else EVENT_FILE_READ
        mm.tell(code, address, address + mm.page_size, pfn, pfn)
    if private_write:
        return map_copy(mm, vma, address, pfn)
    return 0 if map_file_page(mm, vma, address, pfn, access) else SIGKILL << 8


def obtain(mm: Mm, vma: Vma, index: int) -> int:
    """The frame of page `index`; one that has to be read from disk is a major fault and brings those around it along.

    Which ones is the kernel's guess from earlier accesses; here it is 128 KiB around the page
    (do_sync_mmap_readahead).
    """
    inode = vma.inode
    pfn = int(inode.find(index))
    if pfn:
        return pfn
    if index in inode.swapped:
        mm.maj_flt += 1
    elif not inode.in_memory:
        mm.maj_flt += 1
        first = index - READ_AROUND // 2 if index > READ_AROUND // 2 else 0
        for page in range(first, first + READ_AROUND):
            if page != index and page < inode.limit() and not inode.find(page):
                inode.bring(page, mm.group)
    return int(inode.bring(index, mm.group))


def fault_around(mm: Mm, vma: Vma, address: int, index: int) -> bool:
    """A read fault maps what the page cache has around it as well (do_fault_around); whether `address` was among it.

    The window is as large as the profile says, aligned, and cut to the VMA, the table and the file.
    """
    window = mm.around
    number = (address >> mm.page_shift) & ((1 << mm.pages.bits) - 1)
    into_vma = index - vma.pgoff
    first = number & ~(window - 1)
    if number - first > into_vma:
        first = number - into_vma
    last = first + window
    if last > 1 << mm.pages.bits:
        last = 1 << mm.pages.bits
    ends = number + ((vma.end - address) >> mm.page_shift)
    if last > ends:
        last = ends
    done = False
    tableless = mm.pages.find(address) == 0
    for i in range(first, last):
        page = index + i - number
        if page >= vma.inode.limit():
            break
        pfn = vma.inode.find(page)
        if pfn == 0 or pfn == NO_FRAME:
            continue
        if tableless and page + 1 == vma.inode.limit() and gives_up_at_end(mm, vma):
            return False
        tableless = False
        place = address + (i << mm.page_shift) - (number << mm.page_shift)
        at = mm.pages.make(place)
        if at == 0:
            return False
        if load64(at) == 0:
            map_file_page(mm, vma, place, pfn, READ)
            done = done or i == number
    return done


def gives_up_at_end(mm: Mm, vma: Vma) -> bool:
    """Whether fault-around maps nothing where no last-level table is and the first page it finds is the file's last."""
    return mm.profile.gives_up_at_end and not vma.inode.in_memory


def map_copy(mm: Mm, vma: Vma, address: int, pfn: int) -> int:
    """A private write: an anonymous page with the bytes of the file's page `pfn` (do_cow_fault)."""
    frames = mm.frames
    at = mm.pages.make(address)
    new = frames.alloc(0)
    if at == 0 or new == NO_FRAME:
        return SIGKILL << 8
    if mm.frames.observed:
        mm.tell(EVENT_FILE_COPY, address, address + mm.page_size, new, pfn)
    new_anon_page(mm, vma, new, address)
    if frames.home(pfn):
        copy(mm.claim(address, new), frames.home(pfn), mm.page_size)
    pte = new << mm.page_shift | PTE_PRESENT | PTE_WRITABLE | PTE_USER | PTE_ACCESSED | PTE_DIRTY
    store64(at, pte)
    mm.grant(address, pte)
    return 0


def map_file_page(mm: Mm, vma: Vma, address: int, pfn: int, access: int) -> bool:
    """Map the file's frame at `address`; False when there is no RAM for a table.

    Writable right away if a shared mapping allows writing, except that a file on disk wants to know of the first write.
    """
    frames = mm.frames
    at = mm.pages.make(address)
    if at == 0:
        return False
    flags = load16(frames.flags_at + 2 * pfn)
    store32(frames.mapped_at + 4 * pfn, load32(frames.mapped_at + 4 * pfn) + 1)
    mm.count_page(flags, 1)
    pte = pfn << mm.page_shift | PTE_PRESENT | PTE_USER | PTE_ACCESSED
    if vma.flags & VM_SHARED and vma.flags & VM_WRITE and (vma.inode.in_memory or access == WRITE):
        pte |= PTE_WRITABLE
    if access == WRITE:
        pte |= PTE_DIRTY
        store16(frames.flags_at + 2 * pfn, flags | FRAME_DIRTY)
    store64(at, pte)
    mm.grant(address, pte)
    return True


def shared_write(mm: Mm, vma: Vma, at: int, address: int) -> None:
    """The first write to a page of a shared mapping since it was last written back (wp_page_shared, page_mkwrite)."""
    pte = load64(at) | PTE_WRITABLE | PTE_DIRTY | PTE_ACCESSED
    pfn = pte >> mm.page_shift
    mm.frames.set_flags(pfn, load16(mm.frames.flags_at + 2 * pfn) | FRAME_DIRTY)
    store64(at, pte)
    mm.grant(address, pte)
