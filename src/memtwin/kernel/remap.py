# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""mremap (mm/mremap.c as of Linux 6.18)."""

from __future__ import annotations

from typing import Any

import cython

from memtwin.kernel.mm import Mm
from memtwin.kernel.vma import Vma

if not cython.compiled:
    from memtwin.kernel.flags import (
        EAGAIN,
        EFAULT,
        EINVAL,
        ENOMEM,
        EVENT_MAP,
        EVENT_MOVE,
        MREMAP_DONTUNMAP,
        MREMAP_FIXED,
        MREMAP_MAYMOVE,
        VM_ACCOUNT,
        VM_DONTEXPAND,
        VM_HUGETLB,
        VM_LOCKED,
        VM_LOCKONFAULT,
        VM_MAYBE_GUARD,
        VM_MAYSHARE,
        VM_PFNMAP,
        VM_SHARED,
    )
    from memtwin.kernel.hugetlb import cuts, move_reserved, pool_of
    from memtwin.kernel.limits import may_commit, may_expand
    from memtwin.kernel.mapping import do_munmap, fits_right, merge_new, take_chain
    from memtwin.kernel.movepages import move_pages
    from memtwin.kernel.newmap import lock_fits
    from memtwin.kernel.place import unmapped_area
    from memtwin.kernel.populate import populate
    from memtwin.kernel.window import ALL_ONES


def do_mremap(mm: Mm, address: int, old_length: int, new_length: int, flags: int, new_address: int) -> int:
    """mremap(2): the address, or -errno. What a locked mapping gains is brought in."""
    page = mm.page_size - 1
    old_length = (old_length + page) & ~page & ALL_ONES
    new_length = (new_length + page) & ~page & ALL_ONES
    error = check_arguments(mm, address, old_length, new_length, flags, new_address)
    if error:
        return error
    if flags & MREMAP_FIXED and old_length == new_length:
        return move_all(mm, address, address + old_length, new_address, flags)
    vma = mm.find(address) if address < mm.task_size else None
    if vma is not None and vma.start > address:
        vma = None
    if vma is not None and vma.flags & VM_HUGETLB:
        if cannot_remap(vma, address, old_length, new_length, new_address):
            return -EINVAL
        old_length = whole(vma, old_length)
        new_length = whole(vma, new_length)
    error = check_vma(mm, vma, address, old_length, new_length, flags)
    if error:
        return error
    assert vma is not None
    locked = vma.flags & VM_LOCKED
    if flags & (MREMAP_FIXED | MREMAP_DONTUNMAP):
        result = move_to(mm, address, old_length, new_length, flags, new_address)
    else:
        result = resize(mm, vma, address, old_length, new_length, flags)
    if result >= 0 and locked and new_length > old_length:
        populate(mm, result + old_length, result + new_length, True)
    return result


def check_arguments(mm: Mm, address: int, old_length: int, new_length: int, flags: int, new_address: int) -> int:
    """-EINVAL for arguments that are wrong whatever is mapped, -ENOMEM near the limit of mappings; else 0."""
    page = mm.page_size - 1
    if flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP) or address & page:
        return -EINVAL
    if new_length == 0 or new_length > mm.task_size:
        return -EINVAL
    if not flags & (MREMAP_FIXED | MREMAP_DONTUNMAP):
        return 0
    if new_address > mm.task_size - new_length or new_address & page or not flags & MREMAP_MAYMOVE:
        return -EINVAL
    if flags & MREMAP_DONTUNMAP and old_length != new_length:
        return -EINVAL
    if address + old_length > new_address and new_address + new_length > address:
        return -EINVAL
    return -ENOMEM if mm.tree.count + 2 >= mm.max_map_count - 3 else 0


def move_all(mm: Mm, start: int, end: int, new_address: int, flags: int) -> int:
    """Move every mapping of [start, end) without a change of size, the gaps between them kept; -errno of the first
    that cannot be (remap_move, 6.17)."""
    result = -EFAULT
    first = True
    last_end = 0
    to = new_address
    vma = mm.find(start) if start < mm.task_size else None
    while vma is not None and vma.start < end:
        if first and vma.start > start:
            return -EFAULT
        at = vma.start if vma.start > start else start
        length = (vma.end if vma.end < end else end) - at
        if not first:
            to += vma.start - last_end
        last_end = vma.end
        many = vma.file is None or not vma.anonymous  # mmap of /dev/zero may choose another place than it is told
        if not many and (not first or vma.end < end):
            return -EFAULT
        if vma.flags & VM_HUGETLB:
            if cannot_remap(vma, at, length, length, to):
                return -EINVAL
            length = whole(vma, length)
        error = check_vma(mm, vma, at, length, length, flags)
        if error:
            return error
        moved = move_to(mm, at, length, length, flags, to)
        if moved < 0:
            return moved
        if first:
            result = moved
        first = False
        to = moved + length
        vma = mm.tree.find(last_end) if last_end < end else None
    return result


def cannot_remap(vma: Vma, address: int, old_length: int, new_length: int, new_address: int) -> bool:
    """Whether addresses are not those of reserved huge pages, or they would become more (align_hugetlb)."""
    return cuts(vma, address) or cuts(vma, new_address) or whole(vma, new_length) > whole(vma, old_length)


def whole(vma: Vma, length: int) -> int:
    """The length rounded up to whole pages of a VMA of reserved huge pages."""
    size = pool_of(vma).size
    return int((length + size - 1) & ~(size - 1))


def check_vma(mm: Mm, vma: Any, address: int, old_length: int, new_length: int, flags: int) -> int:
    """Whether the mapping at `address` (None: there is none) may be moved or grown so; 0 or -errno (check_prep_vma)."""
    if vma is None:
        return -EFAULT
    if new_length <= old_length and not flags & (MREMAP_FIXED | MREMAP_DONTUNMAP):
        return 0
    if old_length == 0 and not vma.flags & (VM_SHARED | VM_MAYSHARE):
        return -EINVAL
    if flags & MREMAP_DONTUNMAP and vma.flags & (VM_DONTEXPAND | VM_PFNMAP):
        return -EINVAL
    if (old_length if old_length < new_length else new_length) > vma.end - address:
        return -EFAULT
    if new_length <= old_length:
        return 0
    if vma.flags & (VM_DONTEXPAND | VM_PFNMAP):
        return -EFAULT
    if not lock_fits(mm, vma.flags, new_length - old_length):
        return -EAGAIN
    added = (new_length - old_length) >> mm.page_shift
    if not may_expand(mm, vma.flags, added) or (vma.flags & VM_ACCOUNT and not may_commit(mm, added)):
        return -ENOMEM
    return 0


def resize(mm: Mm, vma: Any, address: int, old_length: int, new_length: int, flags: int) -> int:
    """Shrink or grow where it is, or with MREMAP_MAYMOVE elsewhere (mremap_at)."""
    if new_length == old_length:
        return address
    if new_length < old_length:
        error = do_munmap(mm, address + new_length, old_length - new_length)
        return error if error else address
    if expand_in_place(mm, vma, address, old_length, new_length):
        return address
    if not flags & MREMAP_MAYMOVE:
        return -ENOMEM
    place = place_for(mm, vma, address, new_length, 0)
    if place < 0:
        return place
    return move_vma(mm, vma, address, old_length, new_length, place, flags)


def move_to(mm: Mm, address: int, old_length: int, new_length: int, flags: int, new_address: int) -> int:
    """MREMAP_FIXED and MREMAP_DONTUNMAP (mremap_to): what is at the new place goes first."""
    if flags & MREMAP_FIXED:
        error = do_munmap(mm, new_address, new_length)
        if error:
            return error
    if new_length < old_length:
        error = do_munmap(mm, address + new_length, old_length - new_length)
        if error:
            return error
        old_length = new_length
    vma = mm.find(address)
    if vma is None or vma.start > address:
        return -EFAULT
    if not flags & MREMAP_FIXED:
        place = place_for(mm, vma, address, new_length, new_address)
        if place < 0:
            return place
        new_address = place
    return move_vma(mm, vma, address, old_length, new_length, new_address, flags)


def place_for(mm: Mm, vma: Vma, address: int, length: int, hint: int) -> int:
    """Where the mapping goes when it may move, or -ENOMEM."""
    hint &= ~(mm.page_size - 1)
    return unmapped_area(
        mm, hint, length, vma.file, vma.page_offset(address, mm.page_shift), vma.flags & VM_MAYSHARE != 0
    )


def expand_in_place(mm: Mm, vma: Vma, address: int, old_length: int, new_length: int) -> bool:
    """Grow the VMA over the free range behind it, if its last page is the range's last and there is room."""
    if address + old_length != vma.end:
        return False
    end = vma.end + new_length - old_length
    following = vma.next
    if end > mm.task_size or (following is not None and end > following.start):
        return False
    if mm.frames.observed:
        mm.tell(EVENT_MAP, vma.end, end, 0, 0)
    pgoff_end = vma.page_offset(end, mm.page_shift)
    joined = False
    if following is not None:
        # vma_merge_extend does not ask whether what grows was inherited by fork: a follower without an AnonVma fits
        source = vma if following.anon is not None else None
        joined = fits_right(mm, following, end, vma.flags, pgoff_end, vma.file, source, vma.label)
    if joined:
        vma.flags |= following.flags & VM_MAYBE_GUARD
        take_chain(vma, following)
        end = following.end
        mm.drop(following)
    mm.set_borders(vma, vma.start, end)
    return True


def move_vma(mm: Mm, vma: Vma, address: int, old_length: int, new_length: int, new_address: int, flags: int) -> int:
    """Move the mapping and its pages; the old range is unmapped, or with MREMAP_DONTUNMAP left empty."""
    if mm.tree.count >= mm.max_map_count - 3:
        return -ENOMEM
    pgoff = vma.page_offset(address, mm.page_shift)
    if vma.anonymous and vma.anon is None:
        pgoff = new_address >> mm.page_shift
    end = new_address + new_length
    following = mm.tree.find(new_address)
    previous = following.previous if following is not None else mm.tree.last
    moved = merge_new(mm, previous, following, new_address, end, vma.flags, pgoff, vma.file, vma)
    if moved is None:
        moved = vma.part(new_address, end)
        moved.pgoff = pgoff
        mm.add(moved)
    if mm.frames.observed:
        mm.tell(EVENT_MOVE, address, address + old_length, new_address, 0)
    if vma.flags & VM_HUGETLB:
        move_reserved(mm, moved, address, address + old_length, new_address)
        vma.promise = None  # of what does not move too, as on Linux (fixup_hugetlb_reservations)
    else:
        below = room_below(mm, mm.find(address), moved, address, old_length, new_address)
        move_pages(mm, address - below, address + old_length, new_address - below)
    if flags & MREMAP_DONTUNMAP:
        leave_behind(mm, mm.find(address), moved, address, address + old_length)
    elif old_length:
        do_munmap(mm, address, old_length)
    return new_address


def room_below(mm: Mm, vma: Vma, moved: Vma, address: int, length: int, to: int) -> int:
    """How many bytes lower both ranges may begin, so that whole page tables move instead of single entries; 0 for none.

    Down to the start of their tables, when both lie alike in these, reach their ends, begin their VMAs, and have
    nothing mapped before them there (can_realign_addr of mm/mremap.c, since Linux 6.7).
    """
    offset = address & (mm.pages.span - 1)
    if offset == 0 or to & (mm.pages.span - 1) != offset or length < mm.pages.span - offset:
        return 0
    if vma.start != address or moved.start != to:
        return 0
    return offset if free_below(vma, offset) and free_below(moved, offset) else 0


def free_below(vma: Vma, length: int) -> bool:
    """Whether nothing is mapped in so many bytes before the VMA."""
    previous = vma.previous
    return previous is None or previous.end <= vma.start - length


def leave_behind(mm: Mm, vma: Vma, moved: Vma, start: int, end: int) -> None:
    """MREMAP_DONTUNMAP: the old mapping stays, unlocked, and if all of it has moved, as if never touched.

    Its pages go on counting as locked, as in Linux 6.18 (dontunmap_complete).
    """
    vma.flags &= ~(VM_LOCKED | VM_LOCKONFAULT)
    if vma is not moved and start == vma.start and end == vma.end:
        vma.leave()
    if mm.owned(start) and mm.owned(end - 1):
        mm.wipe_window(start, end)
