# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Mappings: how they merge and split, and munmap (mm/vma.c)."""

from __future__ import annotations

from typing import Any

import cython

from memtwin.kernel.mm import Mm
from memtwin.kernel.vma import Vma

if not cython.compiled:
    from memtwin.kernel.flags import (
        EINVAL,
        ENOMEM,
        EVENT_MERGE,
        EVENT_SPLIT,
        EVENT_UNMAP,
        VM_DONTEXPAND,
        VM_HUGETLB,
        VM_IO,
        VM_MAYBE_GUARD,
        VM_PFNMAP,
    )
    from memtwin.kernel.hugetlb import cuts
    from memtwin.kernel.vma import new_vma


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
    label = source.label if source is not None else None
    pgoff_end = pgoff + ((end - start) >> mm.page_shift)
    left = previous is not None and fits_left(mm, previous, start, flags, pgoff, file, source, label)
    right = following is not None and fits_right(mm, following, end, flags, pgoff_end, file, source, label)
    if left and right and not anon_alike(previous, following):
        right = False
    if mm.frames.observed and (left or right):
        mm.tell(EVENT_MERGE, start, end, 0, 0)
    if left:
        previous.flags |= flags & VM_MAYBE_GUARD
        if right:
            previous.flags |= following.flags & VM_MAYBE_GUARD
            take_chain(previous, following)
            end = following.end
            mm.drop(following)
        if source is not None:
            take_chain(previous, source)
        mm.set_borders(previous, previous.start, end)
        return previous
    if right:
        following.flags |= flags & VM_MAYBE_GUARD
        if source is not None:
            take_chain(following, source)
        mm.set_borders(following, start, following.end)
        return following
    return None


def fits_left(mm: Mm, left: Vma, start: int, flags: int, pgoff: int, file: Any, source: Any, label: str | None) -> bool:
    """Whether a mapping that starts at `start`, named `label`, could be the upper part of `left`."""
    return (
        left.end == start
        and (left.flags ^ flags) & ~VM_MAYBE_GUARD == 0
        and left.file is file
        and left.page_offset(left.end, mm.page_shift) == pgoff
        and named_alike(left, label)
        and anon_fits(left, source)
    )


def fits_right(
    mm: Mm, right: Vma, end: int, flags: int, pgoff_end: int, file: Any, source: Any, label: str | None
) -> bool:
    """Whether a mapping that ends at `end`, named `label`, could be the lower part of `right`."""
    return (
        right.start == end
        and (right.flags ^ flags) & ~VM_MAYBE_GUARD == 0
        and right.file is file
        and right.pgoff == pgoff_end
        and named_alike(right, label)
        and anon_fits(right, source)
    )


def named_alike(vma: Vma, label: str | None) -> bool:
    """Whether a mapping named `label` may become a part of `vma`: both have the same name given by prctl, or none.

    A recorded mapping of a file has the file's path as its label, and a new one of the same file none.
    """
    return vma.label is label or vma.label == label or isinstance(vma.file, str)


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
    if mm.frames.observed:
        mm.tell(EVENT_SPLIT, address, vma.end, 0, 0)
    mm.split_at(address)
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


def split_reserved(mm: Mm, vma: Vma, start: int, end: int) -> int:
    """-EINVAL when [start, end) cuts reserved huge pages of a VMA that has to be split there, else 0.

    As on Linux the VMA is split at `start` before the other border turns out to be wrong.
    """
    if start > vma.start and cuts(vma, start):
        return -EINVAL
    if end == vma.end or not cuts(vma, end):
        return 0
    if start > vma.start and mm.tree.count < mm.max_map_count:
        split(mm, vma, start)
    return -EINVAL


def modify(mm: Mm, vma: Vma, start: int, end: int, flags: int) -> Any:
    """Give [start, end) of one VMA other flags: it splits, and merges where neighbours are now alike.

    Returns the VMA that covers [start, end) afterwards (vma_modify, vma_merge_existing_range); None when there would be
    too many.
    """
    return vma if flags == vma.flags else modify_named(mm, vma, start, end, flags, vma.label)


def modify_named(mm: Mm, vma: Vma, start: int, end: int, flags: int, label: str | None) -> Any:
    """`modify`, with another name for [start, end) as well."""
    at_start = vma.start == start
    at_end = vma.end == end
    previous = vma.previous
    following = vma.next
    pgoff = vma.page_offset(start, mm.page_shift)
    pgoff_end = vma.page_offset(end, mm.page_shift)
    special = flags & (VM_IO | VM_DONTEXPAND | VM_PFNMAP)
    left = (
        at_start and not special and previous is not None
        and fits_left(mm, previous, start, flags, pgoff, vma.file, vma, label)
    )  # fmt: skip
    right = (
        at_end and not special and following is not None
        and fits_right(mm, following, end, flags, pgoff_end, vma.file, vma, label)
    )  # fmt: skip
    if left and right and not anon_alike(previous, following):
        right = False
    if mm.frames.observed and (left or right):
        mm.tell(EVENT_MERGE, start, end, 0, 0)
    if left:
        previous.flags |= flags & VM_MAYBE_GUARD
        take_chain(previous, vma)
        if at_end:
            if right:
                previous.flags |= following.flags & VM_MAYBE_GUARD
                take_chain(previous, following)
                end = following.end
                mm.drop(following)
            mm.drop(vma)
        else:
            mm.set_borders(vma, end, vma.end)
        mm.set_borders(previous, previous.start, end)
        return previous
    if right:
        following.flags |= flags & VM_MAYBE_GUARD
        take_chain(following, vma)
        if at_start:
            mm.drop(vma)
        else:
            mm.set_borders(vma, vma.start, start)
        mm.set_borders(following, start, following.end)
        return following
    if not at_start:
        if mm.tree.count >= mm.max_map_count:
            return None
        split(mm, vma, start)
        vma = vma.next
    if not at_end:
        if mm.tree.count >= mm.max_map_count:
            return None
        split(mm, vma, end)
    set_flags(mm, vma, flags)
    vma.label = label
    return vma


def do_munmap(mm: Mm, address: int, length: int) -> int:
    """munmap(2): 0 or -errno; a range without mappings is no error."""
    page = mm.page_size - 1
    if address & page or address > mm.task_size or length > mm.task_size - address:
        return -EINVAL
    end = address + ((length + page) & ~page)
    if end == address:
        return -EINVAL
    return unmap_range(mm, address, end)


def cut_at(mm: Mm, address: int) -> bool:
    """Whether a border at `address` would cut a reserved huge page."""
    vma = mm.tree.find(address)
    return vma is not None and vma.start < address and vma.flags & VM_HUGETLB != 0 and cuts(vma, address)


def unmap_range(mm: Mm, start: int, end: int) -> int:
    """Take every mapping out of [start, end), pages and tables too; 0, or -ENOMEM when that would leave too many.

    -EINVAL where a border would cut a reserved huge page: nothing is unmapped, but the VMA at `start` may have been
    split.
    """
    vma = mm.tree.find(start)
    if vma is None or vma.start >= end:
        return 0
    if vma.start < start:
        if vma.end > end and mm.tree.count >= mm.max_map_count:
            return -ENOMEM
        if vma.flags & VM_HUGETLB and cuts(vma, start):
            return -EINVAL
        split(mm, vma, start)
        vma = vma.next
    if mm.maps_reserved and cut_at(mm, end):
        return -EINVAL
    while vma is not None and vma.start < end:
        following = vma.next
        if vma.end > end:
            split(mm, vma, end)
            following = None
        if mm.frames.observed:
            mm.tell(EVENT_UNMAP, vma.start, vma.end, 0, 0)
        mm.zap(vma.start, vma.end)
        mm.drop(vma)
        vma = following
    above = mm.tree.find(start)
    below = above.previous if above is not None else mm.tree.last
    mm.pages.free_range(start, end, below.end if below is not None else 0, above.start if above is not None else 0)
    return 0
