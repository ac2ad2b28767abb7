# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""mmap with MAP_HUGETLB: mappings of reserved huge pages (ksys_mmap_pgoff, fs/hugetlbfs/inode.c, mm/hugetlb.c).

Each is of a file of its own that nobody else can map, and gets its pages promised, unless MAP_NORESERVE says not to.
"""

from __future__ import annotations

from typing import Any

import cython

from memtwin.kernel.files import File
from memtwin.kernel.hugepool import HugeInode, HugePool, Promise
from memtwin.kernel.mm import Mm

if not cython.compiled:
    from memtwin.kernel.flags import (
        EAGAIN,
        EBADF,
        EEXIST,
        EINVAL,
        ENOMEM,
        EOVERFLOW,
        EPERM,
        EVENT_MAP,
        FILE_CLOSED,
        MAP_ANONYMOUS,
        MAP_FIXED,
        MAP_FIXED_NOREPLACE,
        MAP_HUGE_MASK,
        MAP_HUGE_SHIFT,
        MAP_LOCKED,
        MAP_NONBLOCK,
        MAP_NORESERVE,
        MAP_POPULATE,
        VM_ACCOUNT,
        VM_DONTEXPAND,
        VM_HUGETLB,
        VM_LOCKED,
        VM_LOCKONFAULT,
        VM_MAYSHARE,
        VM_NORESERVE,
        VM_WRITE,
    )
    from memtwin.kernel.limits import may_map
    from memtwin.kernel.mapping import unmap_range
    from memtwin.kernel.newmap import lock_fits, mapping_flags
    from memtwin.kernel.place import highest_area, start_gap
    from memtwin.kernel.populate import populate
    from memtwin.kernel.vma import new_vma
    from memtwin.kernel.window import ALL_ONES

NAME = "/anon_hugepage (deleted)"


def map_reserved(mm: Mm, address: int, length: int, prot: int, flags: int, file: Any, offset: int) -> int:
    """mmap(2) with MAP_HUGETLB: the address, or -errno. The length is rounded up to whole huge pages.

    Where the pool cannot promise the pages it is -ENOMEM, and what MAP_FIXED was to replace is gone all the same.
    """
    if offset & (mm.page_size - 1):
        return -EINVAL
    if not flags & MAP_ANONYMOUS:
        closed = file is None or (isinstance(file, File) and file.kind == FILE_CLOSED)
        return -EBADF if closed else -EINVAL
    pool = mm.machine.huge_pool(flags >> MAP_HUGE_SHIFT & MAP_HUGE_MASK)
    if pool is None:
        return -EINVAL
    length = (length + pool.size - 1) & ~(pool.size - 1) & ALL_ONES
    if length == 0:
        return -EINVAL
    if mm.tree.count > mm.max_map_count:
        return -ENOMEM
    place = choose_place(mm, address, length, flags, pool)
    if place < 0:
        return place
    address = place
    if flags & MAP_LOCKED and mm.memlock_limit == 0:
        return -EPERM
    if offset > ALL_ONES // 2 - length:
        return -EOVERFLOW
    bits = mapping_flags(mm, prot, flags, NAME)
    if bits < 0:
        return bits
    bits = (bits & ~VM_ACCOUNT) | VM_HUGETLB | VM_DONTEXPAND | (VM_NORESERVE if flags & MAP_NORESERVE else 0)
    if not lock_fits(mm, bits, length):
        return -EAGAIN
    if not may_map(mm, address, address + length, bits, False):
        return -ENOMEM
    replaced = held_files(mm, address, address + length)
    error = unmap_range(mm, address, address + length)
    if error == 0:
        error = add_reserved(mm, address, address + length, bits, offset >> mm.page_shift, pool)
    let_go(replaced)
    if error:
        return error
    if bits & VM_LOCKED or flags & (MAP_POPULATE | MAP_NONBLOCK) == MAP_POPULATE:
        populate(mm, address, address + length, True)
    return address


def choose_place(mm: Mm, address: int, length: int, flags: int, pool: HugePool) -> int:
    """Where the mapping goes: MAP_FIXED's place, the hint rounded up to a huge page if that is free, or the highest
    free range that is aligned; -errno."""
    if length > mm.task_size:
        return -ENOMEM
    if flags & (MAP_FIXED | MAP_FIXED_NOREPLACE):
        if address & (pool.size - 1):
            return -EINVAL
        if address > mm.task_size - length:
            return -ENOMEM
        if flags & MAP_FIXED_NOREPLACE:
            vma = mm.find(address)
            if vma is not None and vma.start < address + length:
                return -EEXIST
        return address
    address &= ~(mm.page_size - 1)
    if address and address < mm.mmap_min_addr:
        address = mm.mmap_min_addr
    address = (address + pool.size - 1) & ~(pool.size - 1) & ALL_ONES
    if address and is_free(mm, address, length):
        return address
    return highest_area(mm, length, pool.size)


def is_free(mm: Mm, address: int, length: int) -> bool:
    """Whether a mapping may be put at a hint."""
    if address > mm.task_size - length:
        return False
    vma = mm.find(address)
    return vma is None or address + length <= start_gap(mm, vma)


def held_files(mm: Mm, start: int, end: int) -> list[Any]:
    """The files of reserved huge pages that are mapped in [start, end), held open: what a new mapping replaces keeps
    its shared pages and the promise of more until the new one has its own (vms_complete_munmap_vmas)."""
    held: list[Any] = []
    vma = mm.tree.find(start) if mm.maps_reserved else None
    while vma is not None and vma.start < end:
        if vma.flags & VM_HUGETLB:
            vma.inode.opened += 1
            held.append(vma.inode)
        vma = vma.next
    return held


def let_go(files: list[Any]) -> None:
    """Those that nobody maps any more are gone."""
    for inode in files:
        inode.opened -= 1
        if not inode.vmas and not inode.opened:
            inode.release()


def add_reserved(mm: Mm, start: int, end: int, flags: int, pgoff: int, pool: HugePool) -> int:
    """A VMA of a new file in the free range [start, end), and the promise to it (hugetlbfs_file_mmap); 0 or -errno.

    It is never locked: nothing could swap it. Its file is as long as the range, and where the VMA may be written, as
    long as what it maps of it.
    """
    if pgoff & ((1 << pool.order) - 1):
        return -EINVAL
    promise: Any = None
    inode = HugeInode(pool, end - start, mm.machine.huge_identity())
    first = pgoff >> pool.order
    last = first + ((end - start) >> pool.shift)
    if not flags & VM_NORESERVE:
        promised = inode.promise(first, last) if flags & VM_MAYSHARE else pool.reserve(last - first)
        if not promised:
            inode.release()
            return -ENOMEM
        if not flags & VM_MAYSHARE:
            promise = Promise(pool)
    if flags & VM_WRITE:
        inode.extend(last << pool.shift)
    if mm.frames.observed:
        mm.tell(EVENT_MAP, start, end, 0, 0)
    file = File(inode, NAME)
    inode.opened = 0
    vma = new_vma(start, end, flags & ~(VM_LOCKED | VM_LOCKONFAULT), pgoff, file, mm)
    vma.promise = promise
    mm.maps_reserved = True
    mm.add(vma)
    return 0
