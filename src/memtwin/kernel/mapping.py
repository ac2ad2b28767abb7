# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""mmap, munmap and brk: where mappings go, how they merge and split (mm/mmap.c, mm/vma.c)."""

from __future__ import annotations

from typing import Any

import cython

from memtwin.kernel.mm import Mm
from memtwin.kernel.vma import Vma

if not cython.compiled:
    from memtwin.kernel.flags import (
        EEXIST,
        EINVAL,
        ENOMEM,
        EOVERFLOW,
        MAP_FIXED,
        MAP_FIXED_NOREPLACE,
        MAP_GROWSDOWN,
        MAP_NORESERVE,
        MAP_PRIVATE,
        MAP_SHARED,
        MAP_STACK,
        MAP_TYPE,
        PROT_EXEC,
        PROT_READ,
        PROT_WRITE,
        VM_ACCOUNT,
        VM_DONTEXPAND,
        VM_GROWSDOWN,
        VM_IO,
        VM_MAYEXEC,
        VM_MAYREAD,
        VM_MAYSHARE,
        VM_MAYWRITE,
        VM_NOHUGEPAGE,
        VM_NORESERVE,
        VM_PFNMAP,
        VM_SHARED,
        VM_WRITE,
    )
    from memtwin.kernel.vma import new_vma


def do_mmap(mm: Mm, address: int, length: int, prot: int, flags: int, file: Any, offset: int) -> int:
    """mmap(2): the address, or -errno."""
    page = mm.page_size - 1
    if offset & page:
        return -EINVAL
    if length == 0:
        return -EINVAL
    if length > mm.task_size:
        return -ENOMEM
    length = (length + page) & ~page
    if flags & MAP_FIXED_NOREPLACE:
        flags |= MAP_FIXED
    if not flags & MAP_FIXED:
        address &= ~page
        if address and address < mm.mmap_min_addr:
            address = mm.mmap_min_addr
    if offset + length < offset:
        return -EOVERFLOW
    if mm.tree.count > mm.max_map_count:
        return -ENOMEM
    if flags & MAP_FIXED:
        if address > mm.task_size - length:
            return -ENOMEM
        if address & page:
            return -EINVAL
    else:
        area = unmapped_area(mm, address, length, file, offset >> mm.page_shift, file is None)
        if area < 0:
            return area
        address = area
    if flags & MAP_FIXED_NOREPLACE:
        vma = mm.find(address)
        if vma is not None and vma.start < address + length:
            return -EEXIST
    bits = (prot & (PROT_READ | PROT_WRITE | PROT_EXEC)) | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC
    kind = flags & MAP_TYPE
    if kind == MAP_SHARED:
        if flags & MAP_GROWSDOWN:
            return -EINVAL
        bits |= VM_SHARED | VM_MAYSHARE
    elif kind != MAP_PRIVATE:
        return -EINVAL
    if flags & MAP_GROWSDOWN:
        bits |= VM_GROWSDOWN
    if flags & MAP_STACK and mm.profile.stack_without_huge_pages:
        bits |= VM_NOHUGEPAGE
    if flags & MAP_NORESERVE:
        bits |= VM_NORESERVE
    elif bits & VM_WRITE and not bits & VM_SHARED:
        bits |= VM_ACCOUNT
    if flags & MAP_FIXED:
        unmap_range(mm, address, address + length)
    map_region(mm, address, address + length, bits, (offset if file is not None else address) >> mm.page_shift, file)
    return address


def start_gap(mm: Mm, vma: Vma) -> int:
    """Where a VMA begins for others: below a stack lies the guard gap."""
    if not vma.flags & VM_GROWSDOWN:
        return vma.start
    return vma.start - mm.guard_gap if vma.start > mm.guard_gap else 0


def unmapped_area(mm: Mm, address: int, length: int, file: Any, pgoff: int, anonymous: bool) -> int:
    """Where a mapping without MAP_FIXED goes, `address` being the hint; -ENOMEM when there is no room.

    Private anonymous memory without a hint and a multiple of the huge page long is aligned to it.
    """
    if length > mm.task_size:
        return -ENOMEM
    if anonymous and address == 0 and length & (mm.huge_size - 1) == 0:
        area = plain_area(mm, 0, length + mm.huge_size)
        if area >= 0:
            return (area + mm.huge_size) & ~(mm.huge_size - 1)
    return plain_area(mm, address, length)


def plain_area(mm: Mm, address: int, length: int) -> int:
    """The hint if its range is free, else the highest free range below mmap_base; -ENOMEM."""
    if address and length <= mm.task_size and address <= mm.task_size - length:
        vma = mm.find(address)
        if vma is None or address + length <= start_gap(mm, vma):
            return address
    high = mm.mmap_base
    while True:
        end = mm.tree.highest_gap(length, mm.mmap_min_addr, high)
        if end == 0:
            return -ENOMEM
        vma = mm.tree.find(end)
        if vma is None or start_gap(mm, vma) >= end:
            return end - length
        high = start_gap(mm, vma)


def map_region(mm: Mm, start: int, end: int, flags: int, pgoff: int, file: Any) -> Any:
    """Put in a new mapping where nothing is: by growing a neighbour that is alike, or as a VMA of its own."""
    following = mm.tree.find(start)
    previous = following.previous if following is not None else mm.tree.last
    vma = merge_new(mm, previous, following, start, end, flags, pgoff, file, None)
    if vma is None:
        vma = new_vma(start, end, flags, pgoff, file, mm)
        mm.add(vma)
    return vma


def merge_new(
    mm: Mm,
    previous: Any,
    following: Any,
    start: int,
    end: int,
    flags: int,
    pgoff: int,
    file: Any,
    source: Any,
) -> Any:
    """Grow a neighbour over [start, end), which is free, or make both neighbours one; None when neither is alike.

    source: the VMA that moves here, for its AnonVma; None for a new mapping (vma_merge_new_range).
    """
    if flags & (VM_IO | VM_DONTEXPAND | VM_PFNMAP):
        return None
    left = previous is not None and fits_left(mm, previous, start, flags, pgoff, file, source)
    pgoff_end = pgoff + ((end - start) >> mm.page_shift)
    right = following is not None and fits_right(mm, following, end, flags, pgoff_end, file, source)
    if left and right and not anon_alike(previous, following):
        right = False
    if left:
        if right:
            take_chain(previous, following)
            end = following.end
            mm.drop(following)
        if source is not None:
            take_chain(previous, source)
        mm.set_borders(previous, previous.start, end)
        return previous
    if right:
        if source is not None:
            take_chain(following, source)
        mm.set_borders(following, start, following.end)
        return following
    return None


def fits_left(mm: Mm, left: Vma, start: int, flags: int, pgoff: int, file: Any, source: Any) -> bool:
    """Whether a mapping that starts at `start` could be the upper part of `left`."""
    return (
        left.end == start
        and left.flags == flags
        and left.file is file
        and left.page_offset(left.end, mm.page_shift) == pgoff
        and anon_fits(left, source)
    )


def fits_right(mm: Mm, right: Vma, end: int, flags: int, pgoff_end: int, file: Any, source: Any) -> bool:
    """Whether a mapping that ends at `end` could be the lower part of `right`."""
    return (
        right.start == end
        and right.flags == flags
        and right.file is file
        and right.pgoff == pgoff_end
        and anon_fits(right, source)
    )


def anon_fits(target: Vma, source: Any) -> bool:
    """Whether the AnonVmas allow `target` to swallow `source`, or (None) a mapping without pages.

    Linux 879bca0a2c4f ("mm/vma: fix incorrectly disallowed anonymous VMA merges", 6.16): one side without an AnonVma
    is fine unless the other's was inherited by fork.
    """
    if source is None or source.anon is None:
        return target.anon is None or len(target.chain) == 1
    if target.anon is None:
        return len(source.chain) == 1
    return target.anon is source.anon


def anon_alike(one: Vma, other: Vma) -> bool:
    """Whether two VMAs may become one as far as their AnonVmas go."""
    return one.anon is None or other.anon is None or one.anon is other.anon


def take_chain(target: Vma, source: Vma) -> None:
    """`target` takes over the AnonVmas of `source` if it has none."""
    if target.anon is None and source.chain is not None:
        target.join(source.chain, source.anon)


def split(mm: Mm, vma: Vma, address: int) -> None:
    """Cut a VMA in two at `address`; `vma` stays the lower part."""
    upper = vma.part(address, vma.end)
    upper.pgoff = vma.page_offset(address, mm.page_shift)
    mm.set_borders(vma, vma.start, address)
    mm.add(upper)


def set_flags(mm: Mm, vma: Vma, flags: int) -> None:
    """Change a whole VMA's flags, counted."""
    pages = (vma.end - vma.start) >> mm.page_shift
    mm.account(vma.flags, -pages)
    vma.flags = flags
    mm.account(flags, pages)


def modify(mm: Mm, vma: Vma, start: int, end: int, flags: int) -> Any:
    """Give [start, end) of one VMA other flags: it splits, and merges where neighbours are now alike.

    Returns the VMA that covers [start, end) afterwards (vma_modify, vma_merge_existing_range).
    """
    if flags == vma.flags:
        return vma
    at_start = vma.start == start
    at_end = vma.end == end
    previous = vma.previous
    following = vma.next
    pgoff = vma.page_offset(start, mm.page_shift)
    pgoff_end = vma.page_offset(end, mm.page_shift)
    special = flags & (VM_IO | VM_DONTEXPAND | VM_PFNMAP)
    left = (
        at_start and not special and previous is not None
        and fits_left(mm, previous, start, flags, pgoff, vma.file, vma)
    )  # fmt: skip
    right = (
        at_end and not special and following is not None
        and fits_right(mm, following, end, flags, pgoff_end, vma.file, vma)
    )  # fmt: skip
    if left and right and not anon_alike(previous, following):
        right = False
    if left:
        take_chain(previous, vma)
        if at_end:
            if right:
                take_chain(previous, following)
                end = following.end
                mm.drop(following)
            mm.drop(vma)
        else:
            mm.set_borders(vma, end, vma.end)
        mm.set_borders(previous, previous.start, end)
        return previous
    if right:
        take_chain(following, vma)
        if at_start:
            mm.drop(vma)
        else:
            mm.set_borders(vma, vma.start, start)
        mm.set_borders(following, start, following.end)
        return following
    if not at_start:
        split(mm, vma, start)
        vma = vma.next
    if not at_end:
        split(mm, vma, end)
    set_flags(mm, vma, flags)
    return vma


def do_munmap(mm: Mm, address: int, length: int) -> int:
    """munmap(2): 0 or -errno; a range without mappings is no error."""
    page = mm.page_size - 1
    if address & page or address > mm.task_size or length > mm.task_size - address:
        return -EINVAL
    end = address + ((length + page) & ~page)
    if end == address:
        return -EINVAL
    unmap_range(mm, address, end)
    return 0


def unmap_range(mm: Mm, start: int, end: int) -> None:
    """Take every mapping out of [start, end), pages and tables too."""
    vma = mm.tree.find(start)
    if vma is None or vma.start >= end:
        return
    if vma.start < start:
        split(mm, vma, start)
        vma = vma.next
    while vma is not None and vma.start < end:
        following = vma.next
        if vma.end > end:
            split(mm, vma, end)
            following = None
        mm.zap(vma.start, vma.end)
        mm.drop(vma)
        vma = following
    above = mm.tree.find(start)
    below = above.previous if above is not None else mm.tree.last
    mm.pages.free_range(start, end, below.end if below is not None else 0, above.start if above is not None else 0)


def do_brk(mm: Mm, address: int) -> int:
    """brk(2) as the kernel has it: the new break, or the old one when it cannot be (no errno)."""
    if address < mm.brk_start:
        return mm.brk_end
    page = mm.page_size - 1
    old = (mm.brk_end + page) & ~page
    new = (address + page) & ~page
    if address > mm.task_size:
        return mm.brk_end
    if new == old:
        mm.brk_end = address
        return address
    if address <= mm.brk_end:
        vma = mm.find(new)
        if vma is None or vma.start >= old:
            return mm.brk_end
        unmap_range(mm, new, old)
        mm.brk_end = address
        return address
    following = mm.tree.find(old)
    if following is not None and new + mm.page_size > start_gap(mm, following):
        return mm.brk_end
    if mm.tree.count > mm.max_map_count:
        return mm.brk_end
    previous = following.previous if following is not None else mm.tree.last
    flags = PROT_READ | PROT_WRITE | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC | VM_ACCOUNT
    if (
        previous is not None and previous.end > mm.brk_start
        and fits_left(mm, previous, old, flags, old >> mm.page_shift, None, None)
    ):  # fmt: skip
        mm.set_borders(previous, previous.start, new)
    else:
        mm.add(new_vma(old, new, flags, old >> mm.page_shift, None, mm))
    mm.brk_end = address
    return address
