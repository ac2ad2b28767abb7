# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Where a mapping goes that does not say so with MAP_FIXED (mm/mmap.c, __get_unmapped_area; mm/huge_memory.c)."""

from __future__ import annotations

from typing import Any

import cython

from memtwin.kernel.mm import Mm
from memtwin.kernel.vma import Vma

if not cython.compiled:
    from memtwin.kernel.files import aligned_to_huge
    from memtwin.kernel.flags import ENOMEM, VM_GROWSDOWN


def start_gap(mm: Mm, vma: Vma) -> int:
    """Where a VMA begins for others: below a stack lies the guard gap."""
    if not vma.flags & VM_GROWSDOWN:
        return vma.start
    return vma.start - mm.guard_gap if vma.start > mm.guard_gap else 0


def unmapped_area(mm: Mm, address: int, length: int, file: Any, pgoff: int, shared: bool) -> int:
    """Where `length` bytes go, `address` being the hint (0: none) and `pgoff` the first page of `file`; -ENOMEM.

    Aligned to huge pages, if there is room for that: private anonymous memory without a hint and a multiple of the
    huge page long; disk files of which a whole huge page lies in the range, so that offset and address agree.
    """
    if length > mm.task_size:
        return -ENOMEM
    size = mm.huge_size
    if file is None:
        pgoff = 0
        padded = not shared and address == 0 and aligns(mm, length)
    else:
        first = ((pgoff << mm.page_shift) + size - 1) & ~(size - 1)
        end = (pgoff << mm.page_shift) + length
        padded = end > first and end - first >= size and not mm.compat and aligned_to_huge(file, shared)
    if padded:
        area = plain_area(mm, address, length + size)
        if area >= 0:
            if address and area == address:
                return area
            offset = ((pgoff << mm.page_shift) - area) & (size - 1)
            return area + (offset if offset else size)
    return plain_area(mm, address, length)


def aligns(mm: Mm, length: int) -> bool:
    """Whether the kernel aligns private anonymous memory of that length (KernelProfile.thp_alignment).

    Never for 32-bit processes (Linux 4ef9ad19e176, "mm: huge_memory: don't force huge page alignment on 32 bit", 6.8).
    """
    if length < mm.huge_size or mm.compat:
        return False
    kind = mm.profile.thp_alignment
    return kind == "all" or (kind == "multiple" and length & (mm.huge_size - 1) == 0)


def plain_area(mm: Mm, address: int, length: int) -> int:
    """The hint if its range is free, else the highest free range below mmap_base; -ENOMEM."""
    if length > mm.task_size:
        return -ENOMEM
    if address and address <= mm.task_size - length:
        vma = mm.find(address)
        if vma is None or address + length <= start_gap(mm, vma):
            return address
    return highest_area(mm, length, mm.page_size)


def highest_area(mm: Mm, length: int, alignment: int) -> int:
    """The highest free range below mmap_base, its start aligned; -ENOMEM (unmapped_area_topdown).

    As on Linux only gaps are looked at in which an aligned range has room wherever they begin.
    """
    room = length + alignment - mm.page_size
    high = mm.mmap_base
    while True:
        end = mm.tree.highest_gap(room, mm.mmap_min_addr, high)
        if end == 0:
            return -ENOMEM
        vma = mm.tree.find(end)
        if vma is None or start_gap(mm, vma) >= end:
            return (end - length) & ~(alignment - 1)
        high = start_gap(mm, vma)
