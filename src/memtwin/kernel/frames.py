# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Page frames: what the machine knows of each (struct page), and the buddy allocator that hands them out.

A frame is a number, its PFN. What is known of it lies in arrays that cost the host nothing until a frame is used:

    mapped   u32  how many PTEs map it (mapcount); of a page table: how many of its entries are not empty
    flags    u16  FRAME_* bits
    owner    u32  number of the AnonVma or file whose page it holds
    index    u64  which page of its owner (pgoff), or for a swapped page its slot
    home     u64  host address of its bytes: in a window, in `storage`, or 0 when they are all zero
    next, previous  u32  free list of the buddy allocator while free; `next` of a used page: when it came, by `clock`
    order    u8   while free and the head of a free block: the block's order + 1
    group    u8   number of the group that is charged for the page (only once reclaim keeps lists)

The buddy allocator is the kernel's (mm/page_alloc.c): free blocks of 2**order frames, aligned to their size, one list
an order, freed blocks first out; a block is split when no smaller one is free, its lower half given first; a freed
block joins its buddy while that is free too. Linux's per-CPU lists in front of it are left out. Frames never used
(from `fresh` on) are free blocks of the highest order that are not yet in a list.
"""

from __future__ import annotations

import ctypes
import gc
import itertools
from typing import Any

import cython

from memtwin.errors import UserError, ValidationError
from memtwin.kernel.folio import Folio
from memtwin.kernel.group import Group

if not cython.compiled:
    from memtwin.hostmem import (
        fill,
        load8,
        load16,
        load32,
        load64,
        release,
        reserve,
        store8,
        store16,
        store32,
        store64,
    )
    from memtwin.kernel.flags import FRAME_LISTED, NO_FRAME

    MAX_ORDER = 10

    def born(frames: Frames, group: Group, pfn: int, kind: int) -> None:
        """The frame, whose flags are set, now holds a page that reclaim may take (kind: ANON, swap-backed, or FILE).

        As long as no memory is short only the time is noted; when it first is, the lists are made from that.
        """
        if frames.listing:
            frames.enlist(group, pfn, kind)
        else:
            store32(frames.next_at + 4 * pfn, frames.clock)
            frames.clock = (frames.clock + 1) & 0xFFFFFFFF


class Frames:
    """The frames of a machine with `ram` bytes; see the module's text.

    minimum, low, high: watermarks, free frames. Below `low` whoever takes frames first calls for reclaim, at its door,
    where no PTE or frame is in hand; nothing here refuses a frame that is free. committed: pages of VM_ACCOUNT VMAs;
    pooled: frames of reserved huge pages.
    listing: reclaim keeps lists of pages (`groups`); watch: it must see every reference.
    """

    def __init__(self, ram: int, page_shift: int) -> None:
        if ram < 1 << (page_shift + MAX_ORDER) or ram >> page_shift > 1 << 31:
            raise UserError(f"ram {ram}: it is from {1 << (page_shift + MAX_ORDER)} bytes to 2**31 pages")
        self.page_shift = page_shift
        self.total = ram >> page_shift
        self.storage = self.mapped_at = 0
        self.storage = reserve(self.total << page_shift)
        if not self.storage:  # twins that are garbage but refer to each other may still hold theirs
            gc.collect()
            self.storage = reserve(self.total << page_shift)
        self.mapped_at = reserve(self.total * 40) if self.storage else 0
        if not self.mapped_at:
            if self.storage:
                release(self.storage, self.total << page_shift)
            raise UserError(f"the host gives no address space for {ram} bytes of RAM: take less, or raise ulimit -v")
        self.index_at = self.mapped_at + 4 * self.total
        if self.index_at & 7:
            self.index_at += 4
        self.home_at = self.index_at + 8 * self.total
        self.owner_at = self.home_at + 8 * self.total
        self.next_at = self.owner_at + 4 * self.total
        self.previous_at = self.next_at + 4 * self.total
        self.flags_at = self.previous_at + 4 * self.total
        self.order_at = self.flags_at + 2 * self.total
        self.group_at = self.order_at + self.total
        self.head_at = reserve(4096)
        self.count_at = self.head_at + 4 * (MAX_ORDER + 1) + 4
        for order in range(MAX_ORDER + 1):
            store32(self.head_at + 4 * order, NO_FRAME)
        self.low = self.minimum = self.high = 0
        self.committed = self.pooled = 0
        self.listing = self.watch = False
        self.clock = 0
        self.groups: list[Group] = []
        self.root: Any = None  # the first of them, once a machine has it
        self.swap_area: Any = None
        self.fresh = self.run = 0
        self.free = self.total
        self.owners: dict[int, Any] = {}
        self.folios: dict[int, Folio] = {}  # huge pages by their first PFN
        self.observed = False  # somebody is attached (observe.py)
        self.spare_numbers: list[int] = []
        self.next_number = 1
        self.alloc(0)  # frame 0 is nobody's, so that a PFN of 0 means none

    def __del__(self) -> None:
        if self.mapped_at:
            release(self.storage, self.total << self.page_shift)
            release(self.mapped_at, self.total * 40)
            release(self.head_at, 4096)
            self.mapped_at = 0

    # the buddy allocator

    def push(self, pfn: int, order: int) -> None:
        """Make the block at `pfn` the first of its order's free list."""
        head = load32(self.head_at + 4 * order)
        store32(self.next_at + 4 * pfn, head)
        store32(self.previous_at + 4 * pfn, NO_FRAME)
        if head != NO_FRAME:
            store32(self.previous_at + 4 * head, pfn)
        store32(self.head_at + 4 * order, pfn)
        store8(self.order_at + pfn, order + 1)
        store32(self.count_at + 4 * order, load32(self.count_at + 4 * order) + 1)

    def unlink(self, pfn: int, order: int) -> None:
        """Take the block at `pfn` out of its order's free list."""
        after = load32(self.next_at + 4 * pfn)
        before = load32(self.previous_at + 4 * pfn)
        if after != NO_FRAME:
            store32(self.previous_at + 4 * after, before)
        if before != NO_FRAME:
            store32(self.next_at + 4 * before, after)
        else:
            store32(self.head_at + 4 * order, after)
        store8(self.order_at + pfn, 0)
        store32(self.count_at + 4 * order, load32(self.count_at + 4 * order) - 1)

    def refill(self) -> bool:
        """Bring the next block of frames never used into the lists; False when all have been."""
        if self.fresh >= self.total:
            return False
        order = MAX_ORDER
        while self.fresh + (1 << order) > self.total:
            order -= 1
        self.push(self.fresh, order)
        self.fresh += 1 << order
        return True

    def alloc(self, order: int) -> int:
        """A free block of 2**order frames, its first PFN; NO_FRAME when there is none. `mapped` and flags are 0."""
        have = order
        while have <= MAX_ORDER and load32(self.head_at + 4 * have) == NO_FRAME:
            have += 1
        if have > MAX_ORDER:
            if not self.refill():
                return NO_FRAME
            return self.alloc(order)
        pfn = load32(self.head_at + 4 * have)
        self.unlink(pfn, have)
        while have > order:
            have -= 1
            self.push(pfn + (1 << have), have)
        self.free -= 1 << order
        return pfn

    def alloc_aligned(self, order: int) -> int:
        """`alloc`, of any order: what is larger than the largest block comes from frames that were never used."""
        if order <= MAX_ORDER:
            return self.alloc(order)
        size = 1 << order
        first = (self.fresh + size - 1) & ~(size - 1)
        if first + size > self.total:
            return NO_FRAME
        while self.fresh < first:
            self.refill()
        self.fresh += size
        self.free -= size
        return first

    def alloc_frame(self) -> int:
        """`alloc(0)` for Python; UserError when no frame is free."""
        pfn = self.alloc(0)
        if pfn == NO_FRAME:
            raise UserError("no frame is free: the machine has too little RAM")
        return int(pfn)

    def alloc_run(self, wanted: int) -> int:
        """The same frames that `wanted` (at least 1) single calls of alloc(0) would give, as far as they are in a row.

        Returns the first PFN and leaves their number in `run`; NO_FRAME when no frame is free.
        """
        have = 0
        while have <= MAX_ORDER and load32(self.head_at + 4 * have) == NO_FRAME:
            have += 1
        if have > MAX_ORDER:
            if not self.refill():
                return NO_FRAME
            return self.alloc_run(wanted)
        pfn = load32(self.head_at + 4 * have)
        self.unlink(pfn, have)
        self.run = wanted if wanted < 1 << have else 1 << have
        self.free -= self.run
        self.split_rest(pfn, self.run, have)
        return pfn

    def split_rest(self, pfn: int, wanted: int, order: int) -> None:
        """The first `wanted` frames of the block of 2**order at `pfn` are taken; the others become free blocks."""
        while wanted < 1 << order:
            order -= 1
            if wanted <= 1 << order:
                self.push(pfn + (1 << order), order)
            else:
                pfn += 1 << order
                wanted -= 1 << order

    def give(self, pfn: int, order: int) -> None:
        """Free a block; it joins its buddy as long as that is free."""
        self.free += 1 << order
        while order < MAX_ORDER:
            buddy = pfn ^ (1 << order)
            if buddy + (1 << order) > self.total or load8(self.order_at + buddy) != order + 1:
                break
            self.unlink(buddy, order)
            pfn &= ~(1 << order)
            order += 1
        self.push(pfn, order)

    def give_run(self, pfn: int, count: int) -> None:
        """Free `count` frames in a row, in as few blocks as their alignment allows."""
        while count:
            order = 0
            while order < MAX_ORDER and not pfn & (1 << order) and 2 << order <= count:
                order += 1
            self.give(pfn, order)
            pfn += 1 << order
            count -= 1 << order

    def blocks_by_order(self) -> list[list[int]]:
        """The free blocks of each order by their first PFN, in the order in which they would be given out."""
        blocks: list[list[int]] = []
        for order in range(MAX_ORDER + 1):
            blocks.append([])
            pfn = load32(self.head_at + 4 * order)
            while pfn != NO_FRAME:
                blocks[order].append(pfn)
                pfn = load32(self.next_at + 4 * pfn)
        fresh = self.fresh
        for order in range(MAX_ORDER, -1, -1):
            while fresh + (1 << order) <= self.total:
                blocks[order].append(fresh)
                fresh += 1 << order
        return blocks

    def free_frames(self, first: int, last: int) -> set[int]:
        """Which of the frames [first, last) are free. A block's head tells of all its frames."""
        free = set(range(max(first, self.fresh), last))
        pfn = first >> MAX_ORDER << MAX_ORDER
        while pfn < min(last, self.fresh):
            order = load8(self.order_at + pfn)
            size = 1 << (order - 1) if order else 1
            if order:
                free.update(range(max(pfn, first), min(pfn + size, last)))
            pfn += size
        return free

    def free_blocks(self) -> list[int]:
        """How many free blocks there are of each order: a line of /proc/buddyinfo."""
        counts = [load32(self.count_at + 4 * order) for order in range(MAX_ORDER + 1)]
        left = self.total - self.fresh
        for order in range(MAX_ORDER, -1, -1):
            counts[order] += left >> order
            left &= (1 << order) - 1
        return counts

    # bytes

    def mapped(self, pfn: int) -> int:
        """How many PTEs map the frame."""
        return load32(self.mapped_at + 4 * pfn)

    def home(self, pfn: int) -> int:
        """Host address of the frame's bytes; 0 when they are all zero and nowhere."""
        return load64(self.home_at + 8 * pfn)

    def set_flags(self, pfn: int, flags: int) -> None:
        """Set the frame's FRAME_* bits, all of them."""
        store16(self.flags_at + 2 * pfn, flags)

    def own_bytes(self, pfn: int) -> int:
        """Host address of the frame's bytes in `storage`, where they now live (all zero unless they already did)."""
        at = self.storage + (pfn << self.page_shift)
        store64(self.home_at + 8 * pfn, at)
        return at

    def drop_bytes(self, pfn: int) -> None:
        """The frame's bytes are all zero again; clears them in `storage` if they live there."""
        at = self.storage + (pfn << self.page_shift)
        if load64(self.home_at + 8 * pfn) == at:
            fill(at, 0, 1 << self.page_shift)
        if load64(self.home_at + 8 * pfn):
            store64(self.home_at + 8 * pfn, 0)

    def put_bytes(self, pfn: int, data: bytes) -> None:
        """The frame's first bytes, in `storage` from now on."""
        ctypes.memmove(self.own_bytes(pfn), data, len(data))

    def page_bytes(self, pfn: int) -> bytes:
        """The frame's bytes, a whole page."""
        home = load64(self.home_at + 8 * pfn)
        return ctypes.string_at(home, 1 << self.page_shift) if home else bytes(1 << self.page_shift)

    def clear_tail(self, pfn: int, offset: int) -> None:
        """The frame's bytes from `offset` on become zero."""
        home = load64(self.home_at + 8 * pfn)
        if home:
            fill(home + offset, 0, (1 << self.page_shift) - offset)

    # reclaim

    def enlist(self, group: Group, pfn: int, kind: int) -> None:
        """The page joins its group's lists and is charged to it."""
        store16(self.flags_at + 2 * pfn, load16(self.flags_at + 2 * pfn) | FRAME_LISTED)
        store8(self.group_at + pfn, group.number)
        group.charge(1)
        group.policy.insert(pfn, kind)

    def delist(self, pfn: int) -> None:
        """A page that is FRAME_LISTED leaves RAM: it leaves the lists and its group's charge."""
        group = self.groups[load8(self.group_at + pfn)]
        group.policy.remove(pfn)
        group.charge(-1)
        store16(self.flags_at + 2 * pfn, load16(self.flags_at + 2 * pfn) & ~FRAME_LISTED)

    def touched(self, pfn: int) -> None:
        """`watch` is on and the program referenced the page."""
        if load16(self.flags_at + 2 * pfn) & FRAME_LISTED:
            group = self.groups[load8(self.group_at + pfn)]
            group.policy.touched(pfn)

    def free_page(self, pfn: int) -> None:
        """Free the frame of a page that nothing maps any more, lists and bytes included."""
        if load16(self.flags_at + 2 * pfn) & FRAME_LISTED:
            self.delist(pfn)
        self.drop_bytes(pfn)
        store16(self.flags_at + 2 * pfn, 0)
        self.give(pfn, 0)

    # owners

    def new_owner(self, owner: Any) -> int:
        """A number by which frames name their owner."""
        number = self.spare_numbers.pop() if self.spare_numbers else self.next_number
        if number == self.next_number:
            self.next_number += 1
        self.owners[number] = owner
        return number

    def forget_owner(self, number: int) -> None:
        """The owner is gone and no frame names it any more."""
        del self.owners[number]
        self.spare_numbers.append(number)

    def state(self, pfn: int) -> dict[str, int]:
        """All that is known of a frame, for tests and views."""
        return {
            "mapped": load32(self.mapped_at + 4 * pfn),
            "flags": load16(self.flags_at + 2 * pfn),
            "owner": load32(self.owner_at + 4 * pfn),
            "index": load64(self.index_at + 8 * pfn),
            "home": load64(self.home_at + 8 * pfn),
        }


def validate_buddy(frames: Frames) -> None:
    """Raise ValidationError unless free blocks are aligned, disjoint, joined wherever possible, and add up."""
    blocks = []
    for order in range(MAX_ORDER + 1):
        pfn, before = load32(frames.head_at + 4 * order), NO_FRAME
        count = 0
        while pfn != NO_FRAME:
            if pfn & ((1 << order) - 1) or load8(frames.order_at + pfn) != order + 1:
                raise ValidationError(f"free block {pfn} of order {order}: not aligned or not marked")
            if load32(frames.previous_at + 4 * pfn) != before:
                raise ValidationError(f"free block {pfn} of order {order}: the list is broken")
            if order < MAX_ORDER and load8(frames.order_at + (pfn ^ (1 << order))) == order + 1:
                raise ValidationError(f"free block {pfn} of order {order}: its buddy is free too")
            blocks.append((pfn, 1 << order))
            before, pfn, count = pfn, load32(frames.next_at + 4 * pfn), count + 1
        if count != load32(frames.count_at + 4 * order):
            raise ValidationError(
                f"{count} free blocks of order {order}, {load32(frames.count_at + 4 * order)} counted"
            )
    blocks.sort()
    for (pfn, size), (other, _) in itertools.pairwise(blocks):
        if pfn + size > other:
            raise ValidationError(f"free blocks {pfn} and {other} overlap")
    free = sum(size for _, size in blocks) + frames.total - frames.fresh
    if free != frames.free:
        raise ValidationError(f"{free} frames in free blocks, {frames.free} counted")


def validate_free_frames(frames: Frames) -> set[int]:
    """The PFNs below `fresh` that are free; ValidationError if one of them is still mapped or has bytes."""
    free: set[int] = set()
    for pfn in range(frames.fresh):
        order = load8(frames.order_at + pfn)
        if order:
            free.update(range(pfn, pfn + (1 << (order - 1))))
    for pfn in free:
        if frames.mapped(pfn) or frames.home(pfn) or load16(frames.flags_at + 2 * pfn):
            raise ValidationError(f"frame {pfn} is free and yet {frames.state(pfn)}")
    return free
