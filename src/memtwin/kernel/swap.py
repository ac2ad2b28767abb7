# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""The swap area: slots for pages that are not in RAM (mm/swapfile.c), and the swap cache (mm/swap_state.c).

A slot's number stands in the PTEs that refer to it (PTE_SWAP); `count` says how many do. The area behaves as zram
does, a device that answers at once: a page written is gone from RAM at once, a page that only one PTE refers to is
read past the swap cache and its slot freed. A page that several refer to is read once, by a major fault, and stays
tied to its slot (the swap cache), where the others find it, by minor faults. Slot 0 is the area's header.

What is known of a slot lies in arrays that cost the host nothing until used:

    count  u32  PTEs (and file entries) that refer to it      owner u32, index u64  what the page's frame said
    cache  u32  PFN of its page while that is in RAM, or 0    bytes u8              whether it is other than all zero
    next   u32  list of free slots, last freed first
"""

from __future__ import annotations

import ctypes

import cython

from memtwin.errors import UserError, ValidationError
from memtwin.kernel.frames import Frames

if not cython.compiled:
    from memtwin.hostmem import (
        copy,
        discard,
        load8,
        load16,
        load32,
        load64,
        release,
        reserve,
        store8,
        store32,
        store64,
    )
    from memtwin.kernel.flags import FRAME_SWAPCACHE

SLOT_BYTES = 25


class Swap:
    """A swap area of `size` bytes for a machine's frames; 0 is none. UserError: not even one page beside the header.

    total, used: slots. pages_in, pages_out: pages read and written, as pswpin and pswpout in /proc/vmstat.
    """

    def __init__(self, frames: Frames, size: int) -> None:
        self.storage = self.tables_at = 0
        self.frames = frames
        self.page_shift = frames.page_shift
        pages = size >> frames.page_shift
        if size < 0 or (size and pages < 2) or pages >= 2**31:
            raise UserError(f"swap {size}: it is 0, or from {2 << frames.page_shift} bytes to 2**31 pages")
        self.total = pages - 1 if pages else 0
        self.used = self.spare = 0
        self.fresh = 1
        self.pages_in = self.pages_out = 0
        self.slots: dict[int, int] = {}
        if pages:
            self.reserve_tables(pages)

    def reserve_tables(self, pages: int) -> None:
        """Address space of the host for the slots' bytes and tables."""
        self.storage = reserve(pages << self.page_shift)
        self.tables_at = reserve(pages * SLOT_BYTES) if self.storage else 0
        if not self.tables_at:
            raise UserError(f"the host gives no address space for {pages} swap slots: take less, or raise ulimit -v")
        self.index_at = self.tables_at
        self.count_at = self.index_at + 8 * pages
        self.owner_at = self.count_at + 4 * pages
        self.cache_at = self.owner_at + 4 * pages
        self.next_at = self.cache_at + 4 * pages
        self.bytes_at = self.next_at + 4 * pages

    def __del__(self) -> None:
        if self.storage:
            release(self.storage, (self.total + 1) << self.page_shift)
            self.storage = 0
        if self.tables_at:
            release(self.tables_at, (self.total + 1) * SLOT_BYTES)
            self.tables_at = 0

    # slots

    def alloc(self) -> int:
        """A free slot, nobody's yet; 0 when the area is full or there is none."""
        slot = self.spare
        if slot:
            self.spare = load32(self.next_at + 4 * slot)
        elif self.fresh <= self.total:
            slot = self.fresh
            self.fresh += 1
        else:
            return 0
        self.used += 1
        return slot

    def free_slot(self, slot: int) -> None:
        """Nothing refers to the slot any more; its bytes are forgotten."""
        if load8(self.bytes_at + slot):
            discard(self.storage + (slot << self.page_shift), 1 << self.page_shift)
            store8(self.bytes_at + slot, 0)
        store32(self.next_at + 4 * slot, self.spare)
        self.spare = slot
        self.used -= 1

    def hold(self, slot: int, count: int) -> None:
        """`count` entries more refer to the slot (fork copies a swap PTE, reclaim makes some)."""
        store32(self.count_at + 4 * slot, load32(self.count_at + 4 * slot) + count)

    def drop(self, slot: int) -> None:
        """One entry less refers to the slot; the last frees it, and its cached page if nothing maps that."""
        count = load32(self.count_at + 4 * slot) - 1
        store32(self.count_at + 4 * slot, count)
        if count:
            return
        pfn = load32(self.cache_at + 4 * slot)
        if pfn == 0:
            self.free_slot(slot)
        elif self.frames.mapped(pfn) == 0:
            self.uncache(pfn)
            self.frames.free_page(pfn)

    def references(self, slot: int) -> int:
        """How many entries refer to the slot."""
        return load32(self.count_at + 4 * slot)

    def full(self) -> bool:
        """Whether more than half is used: then pages read back give their slots up at once (vm_swap_full)."""
        return self.used * 2 > self.total

    # bytes

    def put(self, slot: int, pfn: int) -> None:
        """Write the frame's page to the slot: bytes, owner and index."""
        frames = self.frames
        store32(self.owner_at + 4 * slot, load32(frames.owner_at + 4 * pfn))
        store64(self.index_at + 8 * slot, load64(frames.index_at + 8 * pfn))
        self.pages_out += 1
        home = frames.home(pfn)
        if home:
            copy(self.storage + (slot << self.page_shift), home, 1 << self.page_shift)
            store8(self.bytes_at + slot, 1)

    def store_page(self, pfn: int) -> int:
        """Write a file's page to a slot that the file refers to: the slot, or 0 when none is free."""
        slot = self.alloc()
        if slot:
            self.put(slot, pfn)
            self.hold(slot, 1)
        return int(slot)

    def take_bytes(self, slot: int) -> bytes:
        """The bytes of a slot that only a file refers to, b"" when all are zero; the slot is free again."""
        data = b""
        if load8(self.bytes_at + slot):
            data = ctypes.string_at(self.storage + (slot << self.page_shift), 1 << self.page_shift)
        self.pages_in += 1
        self.drop(slot)
        return data

    # the swap cache

    def cached(self, slot: int) -> int:
        """PFN of the slot's page in RAM; 0 when it is not."""
        return load32(self.cache_at + 4 * slot)

    def slot_of(self, pfn: int) -> int:
        """The slot that a page of the swap cache is tied to."""
        return int(self.slots[pfn])

    def cache(self, slot: int, pfn: int) -> None:
        """Tie the frame, which holds the slot's page, to it."""
        store32(self.cache_at + 4 * slot, pfn)
        self.slots[pfn] = slot
        self.frames.set_flags(pfn, load16(self.frames.flags_at + 2 * pfn) | FRAME_SWAPCACHE)

    def uncache(self, pfn: int) -> bool:
        """Untie a cached page and free its slot, unless entries still refer to that: then False (folio_free_swap)."""
        slot = self.slot_of(pfn)
        if load32(self.count_at + 4 * slot):
            return False
        self.forget(pfn)
        self.free_slot(slot)
        return True

    def forget(self, pfn: int) -> None:
        """The frame is no more the slot's page; the slot keeps its bytes."""
        store32(self.cache_at + 4 * self.slots.pop(pfn), 0)
        self.frames.set_flags(pfn, load16(self.frames.flags_at + 2 * pfn) & ~FRAME_SWAPCACHE)

    # views

    def owners(self) -> list[int]:
        """By slot the number of the owner (AnonVma or file) whose page lies there; 0 for a free slot."""
        return [
            load32(self.owner_at + 4 * slot) if 0 < slot < self.fresh and self.in_use(slot) else 0
            for slot in range(self.total + 1)
        ]

    def in_use(self, slot: int) -> bool:
        """Whether the slot holds a page."""
        return bool(load32(self.count_at + 4 * slot) or load32(self.cache_at + 4 * slot))


def validate_swap(swap: Swap) -> None:
    """Raise ValidationError unless free and used slots add up and the swap cache points both ways."""
    free, slot = set(), swap.spare
    while slot:
        if slot in free or swap.in_use(slot):
            raise ValidationError(f"swap slot {slot} is in the free list, and in use or there twice")
        free.add(slot)
        slot = load32(swap.next_at + 4 * slot)
    used = sum(swap.in_use(slot) for slot in range(1, swap.fresh))
    if used != swap.used or used + len(free) != swap.fresh - 1:
        raise ValidationError(f"{used} swap slots in use and {len(free)} free; {swap.used} of {swap.fresh - 1} counted")
    for pfn, slot in swap.slots.items():
        if swap.cached(slot) != pfn or not swap.frames.state(pfn)["flags"] & FRAME_SWAPCACHE:
            raise ValidationError(f"frame {pfn} and swap slot {slot} do not know each other")
