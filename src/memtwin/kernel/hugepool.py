# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Reserved huge pages (mm/hugetlb.c): the pool of one size, what of it is promised to whom, and the files they are in.

Every mapping of them maps a file, for MAP_ANONYMOUS one of its own without a name. A shared mapping's pages belong to
that file and are promised by it; a private mapping's pages belong to its address space, and the promise to the
VMA that mmap made (`Vma.promise`), whose parts go on sharing it. fork passes no promise on: what the child writes, and
what the parent has to copy because of the child, must be free and promised to nobody.
"""

from __future__ import annotations

from typing import Any

import cython

from memtwin.errors import UserError, ValidationError
from memtwin.kernel.files import Inode
from memtwin.kernel.frames import Frames

if not cython.compiled:
    from memtwin.hostmem import store16
    from memtwin.kernel.flags import FRAME_HUGETLB, NO_FRAME


class HugePool:
    """The pool of pages of `size` bytes (struct hstate), `count` of them taken from the buddy allocator right away.

    shift: log2 of the size; order: log2 of its frames. total: pages of the pool; free: the first frame of each that
    nobody has, the one given back last being the next to go; reserved: how many are promised to mappings and not taken
    yet. restoring: pages in use whose promise comes to life again when they are free. UserError: the RAM does not hold
    as many.
    """

    def __init__(self, frames: Frames, size: int, count: int = 0) -> None:
        self.frames = frames
        self.size = size
        self.shift = size.bit_length() - 1
        self.order = self.shift - frames.page_shift
        self.total = self.reserved = 0
        self.free: list[int] = []
        self.restoring: set[int] = set()
        while self.total < count:
            pfn = frames.alloc_aligned(self.order)
            if pfn == NO_FRAME:
                raise UserError(
                    f"huge_pages: {count} of {size >> 10} KiB: the machine's RAM holds {self.total} in one piece each"
                )
            for i in range(1 << self.order):
                store16(frames.flags_at + 2 * (pfn + i), FRAME_HUGETLB)
            self.free.append(pfn)
            self.total += 1
        frames.pooled += count << self.order

    @property
    def available(self) -> int:
        """How many are free and promised to nobody."""
        return len(self.free) - self.reserved

    def reserve(self, pages: int) -> bool:
        """Promise `pages` more; False when there are not as many (hugetlb_acct_memory).

        `reserved` may be below 0: a mapping that goes gives back promises for pages that its children hold.
        """
        if pages > 0 and (self.reserved + pages > len(self.free) or pages > len(self.free)):
            return False
        self.reserved += pages
        return True

    def take(self, promised: bool) -> int:
        """The first frame of a page of zeros; 0 when none may be taken. promised: it was counted in `reserved`."""
        if not self.free or (not promised and len(self.free) == self.reserved):
            return 0
        if promised:
            self.reserved -= 1
        return int(self.free.pop())

    def give(self, pfn: int) -> None:
        """Nobody has the page any more, and its bytes are zero again (free_huge_folio)."""
        if pfn in self.restoring:
            self.restoring.discard(pfn)
            self.reserved += 1
        for i in range(1 << self.order):
            store16(self.frames.flags_at + 2 * (pfn + i), FRAME_HUGETLB)
        self.free.append(pfn)


class Promise:
    """What is promised to a private mapping: a page for each of its huge pages that is not in `used` (struct resv_map).

    used: indices in the file, in huge pages. pool: None for the one promise that was broken, BROKEN.
    """

    def __init__(self, pool: Any) -> None:
        self.pool = pool
        self.used: set[int] = set()

    def end(self, vma: Any) -> None:
        """A VMA that has it goes: what it was still promised is free for others (hugetlb_vm_op_close)."""
        if self.pool is not None:
            small = self.pool.order
            first = vma.pgoff >> small
            last = first + ((vma.end - vma.start) >> self.pool.shift)
            self.pool.reserved -= last - first - len([index for index in self.used if first <= index < last])


# Of a child's VMA from which a page was taken for its parent's sake: what is not mapped there is SIGBUS from then on.
BROKEN = Promise(None)


class HugeInode(Inode):
    """A file of reserved huge pages.

    pages: first frames of the pages that shared mappings see, by index in huge pages. promises: indices for which the
    pool has promised a page, or given it, to shared mappings.
    """

    def __init__(self, pool: HugePool, size: int, identity: str) -> None:
        Inode.__init__(self, pool.frames, size, identity)
        self.pool = pool
        self.promises: set[int] = set()

    def extend(self, size: int) -> None:
        """The file is at least as long as that: what a mapping that may be written makes it (hugetlbfs_file_mmap)."""
        if size > self.size:
            self.size = size

    def promise(self, first: int, last: int) -> bool:
        """Promise pages [first, last) to shared mappings; False when the pool has not as many."""
        wanted = set(range(first, last)) - self.promises
        if not self.pool.reserve(len(wanted)):
            return False
        self.promises |= wanted
        return True

    def punch(self, first: int, last: int) -> None:
        """Small pages [first, last) are zeros again; whole huge pages of them go, and the promises that brought them
        (hugetlbfs_punch_hole)."""
        order = self.pool.order
        for index, pfn in list(self.pages.items()):
            begin = index << order
            if first <= begin and begin + (1 << order) <= last:
                self.unmap(begin, begin + (1 << order))
                self.give_back(self.pages.pop(index))
                self.promises.discard(index)
            else:
                for page in range(max(first, begin), min(last, begin + (1 << order))):
                    self.frames.clear_tail(pfn + page - begin, 0)

    def give_back(self, pfn: int) -> None:
        """A page that nobody maps any more goes back to the pool."""
        for i in range(1 << self.pool.order):
            self.frames.drop_bytes(pfn + i)
        self.pool.give(pfn)

    def release(self) -> None:
        """The file is gone: pages and promises go back to the pool. None is mapped."""
        if self.number == 0:
            return
        for pfn in self.pages.values():
            self.give_back(pfn)
        self.pool.reserve(len(self.pages) - len(self.promises))
        self.pages.clear()
        self.promises.clear()
        self.frames.forget_owner(self.number)
        self.number = 0


def validate_pool(pool: HugePool) -> None:
    """Raise ValidationError unless the free pages are whole, nobody's and each there once."""
    if len(set(pool.free)) != len(pool.free) or len(pool.free) > pool.total:
        raise ValidationError(f"{len(pool.free)} free huge pages of {pool.total}, or one of them twice: {pool.free}")
    for pfn in pool.free:
        for frame in range(pfn, pfn + (1 << pool.order)):
            state = pool.frames.state(frame)
            if state["flags"] != FRAME_HUGETLB or state["mapped"] or state["home"] or pfn & ((1 << pool.order) - 1):
                raise ValidationError(f"frame {frame} is of a free huge page, and yet {state}")
