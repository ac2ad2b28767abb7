# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""mmap and brk: new mappings (mm/mmap.c)."""

from __future__ import annotations

from typing import Any

import cython

from memtwin.kernel.files import File, shared_memory
from memtwin.kernel.mm import Mm

if not cython.compiled:
    from memtwin.kernel.flags import (
        EACCES,
        EAGAIN,
        EBADF,
        EEXIST,
        EINVAL,
        ENODEV,
        ENOMEM,
        EOPNOTSUPP,
        EOVERFLOW,
        EPERM,
        EVENT_MAP,
        FILE_CLOSED,
        FILE_UNMAPPABLE,
        FILE_ZERO,
        MAP_ANONYMOUS,
        MAP_DROPPABLE,
        MAP_FIXED,
        MAP_FIXED_NOREPLACE,
        MAP_GROWSDOWN,
        MAP_LEGACY,
        MAP_LOCKED,
        MAP_NONBLOCK,
        MAP_NORESERVE,
        MAP_POPULATE,
        MAP_PRIVATE,
        MAP_SHARED,
        MAP_SHARED_VALIDATE,
        MAP_STACK,
        MAP_TYPE,
        PROT_EXEC,
        PROT_READ,
        PROT_WRITE,
        VM_ACCOUNT,
        VM_DONTDUMP,
        VM_EXEC,
        VM_GROWSDOWN,
        VM_LOCKED,
        VM_MAYEXEC,
        VM_MAYREAD,
        VM_MAYSHARE,
        VM_MAYWRITE,
        VM_NOHUGEPAGE,
        VM_NORESERVE,
        VM_SHARED,
        VM_WIPEONFORK,
        VM_WRITE,
    )
    from memtwin.kernel.limits import is_accountable, may_break, may_commit, may_expand, may_map
    from memtwin.kernel.mapping import fits_left, map_region, unmap_range
    from memtwin.kernel.place import start_gap, unmapped_area
    from memtwin.kernel.populate import populate
    from memtwin.kernel.protect import key_for
    from memtwin.kernel.vma import new_vma
    from memtwin.kernel.window import ALL_ONES


def do_mmap(mm: Mm, address: int, length: int, prot: int, flags: int, file: Any, offset: int) -> int:
    """mmap(2) without MAP_HUGETLB: the address, or -errno. Which error comes first is the kernel's order."""
    page = mm.page_size - 1
    if offset & page:
        return -EINVAL
    if flags & MAP_ANONYMOUS:
        file = None
    elif file is None or (isinstance(file, File) and file.kind == FILE_CLOSED):
        return -EBADF
    if length == 0:
        return -EINVAL
    length = (length + page) & ~page & ALL_ONES
    if length == 0:
        return -ENOMEM
    pgoff = offset >> mm.page_shift
    if mm.tree.count > mm.max_map_count:
        return -ENOMEM
    place = choose_place(mm, address, length, flags, file, pgoff)
    if place < 0:
        return place
    address = place
    if flags & MAP_LOCKED and mm.memlock_limit == 0:
        return -EPERM
    if file is not None and offset > ALL_ONES // 2 - length:
        return -EOVERFLOW
    bits = mapping_flags(mm, prot, flags, file)
    if bits < 0:
        return bits
    if not lock_fits(mm, bits, length):
        return -EAGAIN
    if not may_map(mm, address, address + length, bits, file is None or bits & VM_SHARED == 0):
        return -ENOMEM
    error = unmap_range(mm, address, address + length)
    if error:
        return error
    if bits & VM_MAYSHARE and (file is None or (isinstance(file, File) and file.kind == FILE_ZERO)):
        pgoff = 0 if file is None else pgoff
        file = shared_memory(mm.machine, length, bits & VM_NORESERVE == 0)
    elif file is None:
        pgoff = address >> mm.page_shift
    if mm.frames.observed:
        mm.tell(EVENT_MAP, address, address + length, 0, 0)
    map_region(mm, address, address + length, bits, pgoff, file)
    if bits & VM_LOCKED or flags & (MAP_POPULATE | MAP_NONBLOCK) == MAP_POPULATE:
        populate(mm, address, address + length, True)
    return address


def choose_place(mm: Mm, address: int, length: int, flags: int, file: Any, pgoff: int) -> int:
    """Where the mapping goes: MAP_FIXED's place, if it is one, or what unmapped_area finds; -errno."""
    page = mm.page_size - 1
    if length > mm.task_size:
        return -ENOMEM
    if flags & (MAP_FIXED | MAP_FIXED_NOREPLACE):
        if address > mm.task_size - length:
            return -ENOMEM
        if address & page:
            return -EINVAL
    else:
        address &= ~page
        if address and address < mm.mmap_min_addr:
            address = mm.mmap_min_addr
        return unmapped_area(mm, address, length, file, pgoff, flags & MAP_SHARED != 0)
    if flags & MAP_FIXED_NOREPLACE:
        vma = mm.find(address)
        if vma is not None and vma.start < address + length:
            return -EEXIST
    return address


def mapping_flags(mm: Mm, prot: int, flags: int, file: Any) -> int:
    """The new VMA's VM_* bits, or -errno where prot, flags and file do not go together."""
    bits = (prot & (PROT_READ | PROT_WRITE | PROT_EXEC)) | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC | mm.def_flags
    bits |= key_for(mm, prot)
    kind = flags & MAP_TYPE
    if flags & MAP_GROWSDOWN:
        bits |= VM_GROWSDOWN
    if flags & MAP_LOCKED:
        bits |= VM_LOCKED
    if flags & MAP_STACK and mm.profile.stack_without_huge_pages:
        bits |= VM_NOHUGEPAGE
    if file is not None:
        bits = file_flags(bits, kind, prot, flags, file)
        if bits < 0:
            return bits
    elif kind == MAP_SHARED:
        if bits & VM_GROWSDOWN:
            return -EINVAL
        bits |= VM_SHARED | VM_MAYSHARE
    elif kind == MAP_DROPPABLE:
        if flags & MAP_LOCKED or bits & VM_GROWSDOWN:
            return -EINVAL
        return -EOPNOTSUPP if not mm.profile.knows_droppable else bits | VM_NORESERVE | VM_WIPEONFORK | VM_DONTDUMP
    elif kind != MAP_PRIVATE:
        return -EINVAL
    if flags & MAP_NORESERVE and mm.overcommit.mode != 2:
        bits |= VM_NORESERVE
    return bits | VM_ACCOUNT if is_accountable(bits) else bits


def file_flags(bits: int, kind: int, prot: int, flags: int, file: Any) -> int:
    """`mapping_flags` for a file: `bits` with what sharing it adds or, where it was opened otherwise, takes away."""
    opened = isinstance(file, File)
    if kind == MAP_SHARED_VALIDATE and flags & ~MAP_LEGACY:
        return -EOPNOTSUPP
    if kind in (MAP_SHARED, MAP_SHARED_VALIDATE):
        if opened and prot & PROT_WRITE and not file.writable:
            return -EACCES
        bits |= VM_SHARED | VM_MAYSHARE
        if opened and not file.writable:
            bits &= ~(VM_MAYWRITE | VM_SHARED)
    elif kind != MAP_PRIVATE:
        return -EINVAL
    if opened and not file.readable:
        return -EACCES
    if opened and file.noexec:
        if bits & VM_EXEC:
            return -EPERM
        bits &= ~VM_MAYEXEC
    if opened and file.kind == FILE_UNMAPPABLE:
        return -ENODEV
    return -EINVAL if bits & VM_GROWSDOWN else bits


def lock_fits(mm: Mm, flags: int, length: int) -> bool:
    """Whether `length` bytes more of such a mapping stay within RLIMIT_MEMLOCK (mlock_future_ok)."""
    return not flags & VM_LOCKED or mm.locked_vm + (length >> mm.page_shift) <= mm.memlock_limit >> mm.page_shift


def do_brk(mm: Mm, address: int) -> int:
    """brk(2) as the kernel has it: the new break, or the old one when it cannot be (no errno)."""
    if address < mm.brk_start or not may_break(mm, address):
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
        if unmap_range(mm, new, old) == 0:
            mm.brk_end = address
        return mm.brk_end
    if not extend_heap(mm, old, new):
        return mm.brk_end
    mm.brk_end = address
    if mm.def_flags & VM_LOCKED:
        populate(mm, old, new, True)
    return address


def extend_heap(mm: Mm, start: int, end: int) -> bool:
    """Memory at [start, end) for the heap, grown onto the VMA below if it is the heap's; False when refused."""
    following = mm.tree.find(start)
    if following is not None and end + mm.page_size > start_gap(mm, following):
        return False
    return add_zeros(mm, start, end, 0, mm.brk_start)


def add_zeros(mm: Mm, start: int, end: int, execute: int, floor: int) -> bool:
    """Private memory at [start, end), which is free; False when refused (do_brk_flags).

    It is grown onto the VMA below if that is alike and ends above `floor`, and never joins the one above.
    """
    pages = (end - start) >> mm.page_shift
    if mm.tree.count > mm.max_map_count or not lock_fits(mm, mm.def_flags, end - start):
        return False
    if not may_expand(mm, VM_WRITE, pages) or not may_commit(mm, pages):
        return False
    following = mm.tree.find(start)
    previous = following.previous if following is not None else mm.tree.last
    flags = PROT_READ | PROT_WRITE | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC | VM_ACCOUNT | mm.def_flags | execute
    pgoff = start >> mm.page_shift
    below = previous is not None and previous.end > floor
    if below and fits_left(mm, previous, start, flags, pgoff, None, None, None):
        mm.set_borders(previous, previous.start, end)
    else:
        mm.add(new_vma(start, end, flags, pgoff, None, mm))
    return True


def map_zeros(mm: Mm, start: int, length: int, execute: int) -> int:
    """What execve maps for bss at `start`, whatever is there: 0 or -ENOMEM (vm_brk_flags). execute: PROT_EXEC or 0."""
    if length > mm.task_size or start > mm.task_size - length:
        return -ENOMEM
    unmap_range(mm, start, start + length)
    return 0 if add_zeros(mm, start, start + length, execute, 0) else -ENOMEM
