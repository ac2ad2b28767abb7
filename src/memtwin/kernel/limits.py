# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Resource limits and overcommit, asked before a mapping comes, grows or becomes writable (mm/mmap.c, getrlimit(2))."""

from __future__ import annotations

import cython

from memtwin.kernel.mm import Mm

if not cython.compiled:
    from memtwin.kernel.flags import VM_ACCOUNT, VM_GROWSDOWN, VM_HUGETLB, VM_NORESERVE, VM_SHARED, VM_WRITE


def is_data(flags: int) -> bool:
    """Whether RLIMIT_DATA counts a VMA with these flags: private, writable, no stack (is_data_mapping)."""
    return flags & (VM_WRITE | VM_SHARED | VM_GROWSDOWN) == VM_WRITE


def is_accountable(flags: int) -> bool:
    """Whether a new VMA with these flags is counted as promised memory (accountable_mapping).

    Reserved huge pages are not: their pool keeps its own account.
    """
    return flags & (VM_NORESERVE | VM_SHARED | VM_HUGETLB | VM_WRITE) == VM_WRITE


def may_expand(mm: Mm, flags: int, pages: int) -> bool:
    """Whether RLIMIT_AS and RLIMIT_DATA allow `pages` more in VMAs with these flags (may_expand_vm)."""
    if mm.total_vm + pages > mm.as_limit >> mm.page_shift:
        return False
    return not is_data(flags) or mm.data_vm + pages <= mm.data_limit >> mm.page_shift


def may_commit(mm: Mm, pages: int) -> bool:
    """Whether the machine promises `pages` more to this process (security_vm_enough_memory_mm)."""
    return mm.overcommit.allows(pages, mm.total_vm, mm.admin)


def mapped_within(mm: Mm, start: int, end: int, flags: int) -> int:
    """How many pages of [start, end) lie in VMAs that have all of `flags`; 0 asks for any VMA."""
    total = 0
    vma = mm.tree.find(start)
    while vma is not None and vma.start < end:
        if vma.flags & flags == flags:
            low = vma.start if vma.start > start else start
            high = vma.end if vma.end < end else end
            total += (high - low) >> mm.page_shift
        vma = vma.next
    return total


def may_map(mm: Mm, start: int, end: int, flags: int, unnamed: bool) -> bool:
    """Whether limits and overcommit allow a new VMA at [start, end), in place of what is there now.

    unnamed: no file was given; shared, it is memory of its own then, promised as a whole (shmem_acct_size).
    """
    pages = (end - start) >> mm.page_shift
    if not may_expand(mm, flags, pages - mapped_within(mm, start, end, 0)):
        return False
    if unnamed and flags & (VM_SHARED | VM_NORESERVE) == VM_SHARED:
        return may_commit(mm, pages)
    if not is_accountable(flags):
        return True
    return may_commit(mm, pages - mapped_within(mm, start, end, VM_ACCOUNT))


def may_break(mm: Mm, new_break: int) -> bool:
    """Whether RLIMIT_DATA allows the break, be it lower than it was, the program's own data counted in
    (check_data_rlimit)."""
    return new_break - mm.brk_start + mm.data_bytes <= mm.data_limit


def may_change(mm: Mm, old_flags: int, new_flags: int, pages: int) -> bool:
    """Whether mprotect may make `pages` of a VMA writable: they may become data, and promised (mprotect_fixup)."""
    if not may_expand(mm, new_flags, pages) and may_expand(mm, old_flags, pages):
        return False
    if old_flags & (VM_ACCOUNT | VM_WRITE | VM_HUGETLB | VM_SHARED | VM_NORESERVE):
        return True
    return may_commit(mm, pages)
