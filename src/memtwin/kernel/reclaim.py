# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Reclaim: when memory is short, pages go (mm/vmscan.c, mm/rmap.c).

Watermarks are the kernel's (watermarks). Below `low` reclaim works until `high` is free, as kswapd would, but at the
door of the fault that noticed, so that the twin is deterministic; at `minimum` the fault must win something itself
(direct reclaim), or the OOM killer takes a process. Which page goes is the policy's to say; here it is unmapped from
every space that maps it, found by its owner (rmap), and written to swap or to its file. Of a huge page all pages go
together, each to a slot of its own.

Until memory is short for the first time no lists are kept: frames only note when their page came. `start` makes the
lists from that, in order, and from then on each new page joins them at once.
"""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING, Any

import cython
import numpy as np

from memtwin.errors import UserError, ValidationError
from memtwin.kernel.frames import Frames
from memtwin.kernel.group import UNLIMITED, Group
from memtwin.kernel.mm import Mm
from memtwin.kernel.policies import policy_named
from memtwin.kernel.policies.policy import Pages, validate_policy
from memtwin.kernel.vma import Vma

if not cython.compiled:
    from memtwin.hostmem import discard, load8, load16, load32, load64, store8, store32, store64
    from memtwin.kernel.flags import (
        BYTES,
        EVENT_DROP,
        EVENT_SWAP_OUT,
        FRAME_ANON,
        FRAME_DIRTY,
        FRAME_EXCLUSIVE,
        FRAME_FILE,
        FRAME_HUGE,
        FRAME_LAZYFREE,
        FRAME_LISTED,
        FRAME_SWAPCACHE,
        NO_FRAME,
        PTE_ACCESSED,
        PTE_DIRTY,
        PTE_MAPPED,
        PTE_SWAP,
        PTE_SWAP_EXCLUSIVE,
        PTE_ZERO,
        VM_EXEC,
        VM_LOCKED,
    )
    from memtwin.kernel.lazyfree import split_folio
    from memtwin.kernel.policies.policy import ANON, EXECUTABLE, FILE, KINDS

    CLUSTER, HOPELESS = 32, 16
    IS_LOCKED, IS_YOUNG, IS_DIRTY, SPLIT, UNMAP = range(5)

if TYPE_CHECKING:
    from memtwin.kernel.machine import Machine


def watermarks(
    pages: int, page_size: int, scale_factor: int = 10, min_free_kib: int | None = None
) -> tuple[int, int, int]:
    """(minimum, low, high) in pages for a machine of `pages` (init_per_zone_wmark_min, __setup_per_zone_wmarks).

    min_free_kbytes is the square root of 16 times the RAM in KiB, from 128 to 262144; the others lie above it by a
    quarter of it or scale_factor (/proc/sys/vm/watermark_scale_factor) 10000ths of the RAM, whichever is more.
    min_free_kib: where an administrator has set it.
    """
    kib = min(max(isqrt(16 * (pages * page_size >> 10)), 128), 262144) if min_free_kib is None else min_free_kib
    minimum = (kib << 10) // page_size
    step = max(minimum >> 2, pages * scale_factor // 10000)
    return minimum, minimum + step, minimum + 2 * step


class FramePages(Pages):
    """The pages of a machine: their accessed bits are in the page tables, found through their owners."""

    def __init__(self, frames: Frames) -> None:
        Pages.__init__(self, frames.total)
        self.frames = frames

    def young(self, page: int) -> int:
        """How many PTEs that map the page have their accessed bit set; it is cleared (folio_referenced)."""
        return self.visit(page, IS_YOUNG, 0)

    def visit(self, pfn: int, action: int, entry: int) -> int:
        """Do one thing to every PTE that maps the page, and add up what it says (rmap_walk)."""
        frames = self.frames
        left = frames.mapped(pfn)
        found = 0
        if left == 0:
            return 0
        index = load64(frames.index_at + 8 * pfn)
        owner: Any = frames.owners[load32(frames.owner_at + 4 * pfn)]
        for vma in owner.vmas:
            if index < vma.pgoff:
                continue
            address = vma.start + ((index - vma.pgoff) << frames.page_shift)
            if address >= vma.end:
                continue
            mm = vma.space
            at = mm.pages.entry(address)
            if at == 0:
                continue
            pte = load64(at)
            if not pte & PTE_MAPPED or pte & PTE_ZERO or pte >> frames.page_shift != pfn:
                continue
            found += visit_entry(mm, vma, at, address, action, entry)
            left -= 1
            if left == 0:
                break
        return found


def visit_entry(mm: Mm, vma: Vma, at: int, address: int, action: int, entry: int) -> int:
    """`FramePages.visit` for the PTE at host address `at`."""
    pte = load64(at)
    if action == IS_LOCKED:
        return 1 if vma.flags & VM_LOCKED else 0
    if action == IS_DIRTY:
        return 1 if pte & PTE_DIRTY else 0
    if action == SPLIT:
        if mm.pages.huge and mm.pages.is_huge(address):
            mm.split_huge(address)
        return 1
    if action == UNMAP:
        unmap_entry(mm, at, address, entry)
        return 1
    if not pte & PTE_ACCESSED:
        return 0
    store64(at, pte & ~PTE_ACCESSED)
    if mm.owned(address):
        store8(mm.slot(address), load8(mm.slot(address)) & BYTES)
    return 1 | (EXECUTABLE if vma.flags & VM_EXEC else 0)


def unmap_entry(mm: Mm, at: int, address: int, entry: int) -> None:
    """Put `entry` (a swap PTE, or 0) in the place of a PTE whose page goes; bytes in this window are given up."""
    pfn = load64(at) >> mm.page_shift
    frames = mm.frames
    mm.note_peak()
    if frames.observed:
        code = EVENT_SWAP_OUT if entry & PTE_SWAP else EVENT_DROP
        mm.tell(code, address, address + mm.page_size, pfn, entry >> mm.page_shift)
    store64(at, entry)
    store32(frames.mapped_at + 4 * pfn, frames.mapped(pfn) - 1)
    here = mm.window + (address & mm.mask)
    if frames.home(pfn) == here:
        discard(here, mm.page_size)
        store64(frames.home_at + 8 * pfn, 0)
    if mm.owned(address):
        store8(mm.slot(address), 0)
    mm.count_page(load16(frames.flags_at + 2 * pfn), -1)
    if entry & PTE_SWAP:
        mm.swap_pages += 1


class Reclaim:
    """Reclaim of one machine. kswapd_steal, direct_steal, limit_steal: pages won by each way; stalls: direct reclaims.

    policy: a name of kernel/policies; seed: of one that draws.
    """

    def __init__(self, machine: Machine, policy: str = "two-list", seed: int = 1) -> None:
        self.frames = machine.frames
        self.swap = machine.swap_area
        self.pages = FramePages(machine.frames)
        self.policy_name = policy
        self.seed = seed
        self.failures = 0
        self.kswapd_steal = self.direct_steal = self.stalls = self.limit_steal = 0
        frames = self.frames
        scale, kib = machine.profile.watermark_scale_factor, machine.profile.min_free_kbytes
        frames.minimum, frames.low, frames.high = watermarks(frames.total, 1 << frames.page_shift, scale, kib)
        self.low = frames.low

    def new_group(self, name: str, limit: int = UNLIMITED) -> Group:
        """A group of processes; from now on pages are listed as they come. UserError: a limit below 1, too many."""
        number = len(self.frames.groups)
        if limit < 1 or number > 255:
            raise UserError(f"group {name!r} of {limit} pages: a limit is at least 1, and there are 255 groups at most")
        policy = policy_named(self.policy_name, self.pages, self.seed + number)
        group = Group(number, name, policy, limit)
        self.frames.groups.append(group)
        if number:
            self.start()
        return group

    def start(self) -> None:
        """Make the lists: every page that can be reclaimed, in the order in which they came."""
        frames = self.frames
        if frames.listing:
            return
        frames.listing = True
        came = []
        for pfn in range(frames.fresh):
            flags = load16(frames.flags_at + 2 * pfn)
            if flags & (FRAME_ANON | FRAME_FILE):
                came.append((load32(frames.next_at + 4 * pfn), pfn))
        order = np.array(came, np.uint32).reshape(-1, 2)
        for pfn in order[np.argsort(order[:, 0], kind="stable"), 1].tolist():
            frames.enlist(frames.groups[0], pfn, kind_of(load16(frames.flags_at + 2 * pfn)))

    # the door

    def relieve(self, mm: Mm) -> bool:
        """Memory is short for `mm`: win some. False when `mm` itself was killed for it."""
        if mm.group.usage >= mm.group.limit and not self.relieve_group(mm, mm.group):
            return False
        return self.frames.free >= self.frames.low or self.relieve_machine(mm)

    def relieve_group(self, mm: Mm, group: Group) -> bool:
        """Bring a group below its limit by reclaiming its own pages, or by killing one of its processes."""
        while group.usage >= group.limit:
            group.failures += 1
            won = self.shrink(group, CLUSTER)
            self.limit_steal += won
            if won == 0:
                victim = mm.machine.kill_for_memory(group)
                group.kills += 1
                if victim is None or victim is mm:
                    return False
        return True

    def relieve_machine(self, mm: Mm) -> bool:
        """kswapd's part, then, if free frames are down to the minimum, direct reclaim and the OOM killer."""
        frames = self.frames
        self.start()
        while self.failures < HOPELESS and frames.free < frames.high:
            won = self.shrink_all(frames.high - frames.free)
            self.kswapd_steal += won
            self.failures = 0 if won else self.failures + 1
        if self.failures >= HOPELESS:
            frames.low = frames.minimum + 1  # kswapd gives up until something changes
        while frames.free <= frames.minimum:
            self.stalls += 1
            won = self.shrink_all(CLUSTER)
            self.direct_steal += won
            if won == 0:
                victim = mm.machine.kill_for_memory(None)
                self.resume()
                if victim is None or victim is mm:
                    return False
        return True

    def resume(self) -> None:
        """Something changed: kswapd tries again."""
        self.failures = 0
        self.frames.low = self.low

    # winning pages

    def kinds(self) -> int:
        """What may go: anonymous memory only if there is a slot for it."""
        return KINDS if self.swap.used < self.swap.total else FILE

    def shrink_all(self, wanted: int) -> int:
        """`wanted` pages from all groups, each giving as much as it holds; returns how many went."""
        total = 0
        for group in self.frames.groups:
            total += group.usage
        won = 0
        for group in self.frames.groups:
            if group.usage and won < wanted:
                share = wanted * group.usage // total
                won += self.shrink(group, share if share > 0 else 1)
        return won

    def shrink(self, group: Group, wanted: int) -> int:
        """Reclaim up to `wanted` pages of one group; returns how many went."""
        policy = group.policy
        won = kept = 0
        most = 2 * group.usage + CLUSTER
        policy.begin(self.kinds())
        while won < wanted and kept < most:
            page = policy.victim(self.kinds())
            if page == NO_FRAME:
                break
            gone = self.evict(page)
            won += gone
            if gone == 0:
                policy.keep(page)
                kept += 1
        return won

    def evict(self, pfn: int) -> int:
        """Let a page go, with it all of the huge page that it is part of: how many went.

        0 when it has to stay: mlocked, or no slot left, or a file that cannot be written.
        """
        flags = load16(self.frames.flags_at + 2 * pfn)
        if self.pages.visit(pfn, IS_LOCKED, 0):
            return 0
        if flags & FRAME_HUGE:
            return self.evict_huge(pfn)
        return int(self.evict_anon(pfn, flags) if flags & FRAME_ANON else self.evict_file(pfn, flags))

    def evict_huge(self, pfn: int) -> int:
        """All pages go of the huge page that the frame is part of: how many went (TTU_SPLIT_HUGE_PMD)."""
        frames = self.frames
        count = 1 << (frames.page_shift - 3)
        first = pfn & ~(count - 1)
        dirty = self.dissolve(first, count)
        won = 0
        for page in range(first, first + count):
            flags = load16(frames.flags_at + 2 * page)
            if flags & FRAME_HUGE:
                flags = (flags & ~FRAME_HUGE) | dirty
                frames.set_flags(page, flags)
                if self.pages.visit(page, IS_LOCKED, 0) == 0 and self.evict_anon(page, flags):
                    won += 1
                else:
                    group: Group = frames.groups[load8(frames.group_at + page)]
                    group.policy.keep(page)
        return won

    def dissolve(self, first: int, count: int) -> int:
        """Whoever maps the folio at `first` as one maps single pages now, and it is none any more.

        FRAME_DIRTY if all of it was dirty; its frames still have FRAME_HUGE.
        """
        for page in range(first, first + count):
            if load16(self.frames.flags_at + 2 * page) & FRAME_HUGE:
                self.pages.visit(page, SPLIT, 0)
                break
        folio = self.frames.folios.pop(first)
        return FRAME_DIRTY if folio.dirty else 0

    def evict_anon(self, pfn: int, flags: int) -> bool:
        """An anonymous page goes to swap; one that MADV_FREE was told of and nobody wrote since just goes."""
        swap = self.swap
        if flags & FRAME_LAZYFREE:
            if not flags & FRAME_DIRTY and not self.pages.visit(pfn, IS_DIRTY, 0):
                self.pages.visit(pfn, UNMAP, 0)
                self.frames.free_page(pfn)
                return True
            self.frames.set_flags(pfn, flags & ~FRAME_LAZYFREE)
        if flags & FRAME_SWAPCACHE:
            slot = swap.slot_of(pfn)
        else:
            slot = swap.alloc()
            if slot == 0:
                return False
            swap.put(slot, pfn)
        entry = slot << self.frames.page_shift | PTE_SWAP
        if flags & FRAME_EXCLUSIVE and self.frames.mapped(pfn) == 1:
            entry |= PTE_SWAP_EXCLUSIVE
        swap.hold(slot, self.pages.visit(pfn, UNMAP, entry))
        if flags & FRAME_SWAPCACHE:
            swap.forget(pfn)
        self.frames.free_page(pfn)
        return True

    def evict_file(self, pfn: int, flags: int) -> bool:
        """A page of a file goes: to swap if it is in memory, else to its disk if it is dirty (pageout)."""
        inode: Any = self.frames.owners[load32(self.frames.owner_at + 4 * pfn)]
        if inode.in_memory and self.swap.used >= self.swap.total:
            return False
        dirty = flags & FRAME_DIRTY or self.pages.visit(pfn, IS_DIRTY, 0)
        self.pages.visit(pfn, UNMAP, 0)
        if not inode.evict(pfn, load64(self.frames.index_at + 8 * pfn), bool(dirty)):
            return False
        self.frames.free_page(pfn)
        return True

    def advise(self, mm: Mm, start: int, end: int, out: bool) -> None:
        """MADV_COLD, or with `out` MADV_PAGEOUT, for [start, end): pages that `mm` has alone become old, or go.

        Those that others map too are left alone. A huge page that does not lie in the range as a whole is split first
        (madvise_cold_or_pageout_pte_range).
        """
        self.start()
        frames = self.frames
        address = start
        while address < end:
            at = mm.pages.entry(address)
            if at == 0:
                address = mm.pages.reach
                continue
            pte = load64(at)
            if pte & PTE_MAPPED and not pte & PTE_ZERO:
                if load16(frames.flags_at + 2 * (pte >> frames.page_shift)) & FRAME_HUGE:
                    self.part(mm, address, start, end)
                    pte = load64(at)
                if not pte & PTE_ZERO and frames.mapped(pte >> frames.page_shift) == 1:
                    self.advise_page(pte >> frames.page_shift, out)
            address += mm.page_size

    def part(self, mm: Mm, address: int, start: int, end: int) -> None:
        """Split the huge page at `address` if it goes beyond [start, end) and nobody else maps it."""
        first = address & ~(mm.huge_size - 1)
        pfn = load64(mm.pages.entry(address)) >> mm.page_shift
        whole = mm.pages.is_huge(address) and start <= first and first + mm.huge_size <= end
        folio = mm.folio_of(pfn)
        if whole or folio.maybe_shared():
            return
        if mm.pages.is_huge(address):
            mm.split_huge(address)
        split_folio(mm, mm.find(address), pfn)

    def advise_page(self, pfn: int, out: bool) -> None:
        """One page becomes old, or goes with the huge page that it may be part of, unless that is shared."""
        flags = load16(self.frames.flags_at + 2 * pfn)
        if not flags & FRAME_LISTED:
            return
        if flags & FRAME_HUGE:
            folio = self.frames.folios[pfn & ~((1 << (self.frames.page_shift - 3)) - 1)]
            if folio.maybe_shared():
                return
        self.pages.young(pfn)
        group: Group = self.frames.groups[load8(self.frames.group_at + pfn)]
        if not out:
            group.policy.retire(pfn)
        elif self.evict(pfn) == 0:
            group.policy.keep(pfn)


def kind_of(flags: int) -> int:
    """The list kind of a frame with these flags: what swap takes (ANON), or what a file or nobody needs (FILE)."""
    if flags & FRAME_LAZYFREE or not flags & FRAME_ANON:
        return FILE
    return ANON


def validate_reclaim(reclaim: Reclaim) -> None:
    """Raise ValidationError unless frames, lists and charges agree."""
    frames = reclaim.frames
    if not frames.listing:
        return
    listed: set[int] = set()
    for group in frames.groups:
        validate_policy(group.policy)
        pages = group.policy.listed()
        if len(pages) + group.tables != group.usage:
            raise ValidationError(
                f"group {group.name}: {len(pages)} pages and {group.tables} tables, {group.usage} charged"
            )
        listed.update(pages)
    flagged = {pfn for pfn in range(frames.fresh) if load16(frames.flags_at + 2 * pfn) & FRAME_LISTED}
    if flagged != listed:
        raise ValidationError(f"frames {sorted(flagged ^ listed)[:8]} are listed and not flagged so, or the reverse")
