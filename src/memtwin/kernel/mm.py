# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Mm: the state of one address space (struct mm_struct), and what every part of the kernel does with it.

The parts themselves are functions over an Mm, one file each: mapping, mremap, madvise, fault, fork. AddressSpace is
the Mm that has them as methods.

Where a page's bytes are: a frame's `home` says it. A page that was only touched has none. The first store into a
private page gives it its place in the window of the space that stores (`claim`); frames of files, and those whose
place in the window is not free, have their bytes in the machine's `storage`. When a frame leaves a space whose window
holds its bytes while other spaces still map it, its bytes move to `storage` (`leave_window`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cython

from memtwin.kernel.pagetable import PageTable
from memtwin.kernel.vma import Vma, VmaTree
from memtwin.memory import Memory

if not cython.compiled:
    from memtwin.hostmem import copy, discard, fill, load8, load16, load32, load64, store8, store32, store64
    from memtwin.kernel.flags import (
        BYTES,
        FRAME_ANON,
        FRAME_EXCLUSIVE,
        PTE_DIRTY,
        PTE_MAPPED,
        PTE_PRESENT,
        PTE_WRITABLE,
        PTE_ZERO,
        TOUCHED,
        VM_EXEC,
        VM_GROWSDOWN,
        VM_LOCKED,
        VM_SHARED,
        VM_WRITE,
    )
    from memtwin.memory import READ, WRITE

    DISCARD_PAGES = 32
    TOUCHED_WORD, BYTES_WORD, ALL_ONES = 0x0404040404040404, 0x0808080808080808, 2**64 - 1

if TYPE_CHECKING:
    from memtwin.kernel.machine import Machine


class Mm(Memory):
    """An empty address space on `machine`.

    min_flt, maj_flt: faults as getrusage counts them. anon_pages, file_pages, shmem_pages: resident, their sum is RSS;
    swap_pages: in swap. total_vm, data_vm, stack_vm, exec_vm, locked_vm: pages of VMAs, as /proc/PID/status has them.
    peak_pages, peak_vm: the most of resident and of VMAs' pages before they last became fewer (VmHWM, VmPeak).
    start_code, end_code, start_stack: where execve put the program's code and stack. def_flags: VM_* bits that every
    new mapping gets, after mlockall.
    """

    def __init__(self, machine: Machine, window_bits: int = 44) -> None:
        profile = machine.profile
        self.pages: Any = None
        Memory.__init__(self, profile.page_size, window_bits)
        self.machine: Any = machine
        self.profile = profile
        self.frames = machine.frames
        self.zero_pfn = machine.zero_pfn
        self.tree = VmaTree()
        self.pages = PageTable(self.frames, profile.levels)
        self.cached: Any = None
        self.task_size = profile.task_size
        self.guard_gap = profile.stack_guard_pages << self.page_shift
        self.huge_size = profile.huge_size
        self.mmap_min_addr = profile.mmap_min_addr
        self.reclaims_tables = profile.reclaim_tables
        self.max_map_count = profile.max_map_count
        self.mmap_base = self.def_flags = 0
        self.start_code = self.end_code = self.start_stack = 0
        self.brk_start = self.brk_end = 0
        self.min_flt = self.maj_flt = 0
        self.anon_pages = self.file_pages = self.shmem_pages = self.swap_pages = self.peak_pages = self.peak_vm = 0
        self.total_vm = self.data_vm = self.stack_vm = self.exec_vm = self.locked_vm = 0

    def __del__(self) -> None:
        if self.pages is not None and self.frames.mapped_at:  # both garbage: the machine may have gone first
            self.release_all()
        Memory.__del__(self)

    def release_all(self) -> None:
        """exec and exit: every mapping, page and table goes; what others share stays theirs. Nothing can be mapped
        afterwards."""
        if self.pages.root == 0:
            return
        vma = self.tree.first
        while vma is not None:
            following = vma.next
            self.zap(vma.start, vma.end)
            self.drop(vma)
            vma = following
        self.pages.free_range(0, self.task_size, 0, 0)
        self.pages.release()

    # VMAs

    def find(self, address: int) -> Any:
        """The first VMA that ends above `address`; the one found last is tried first."""
        vma = self.cached
        if vma is not None and vma.start <= address < vma.end:
            return vma
        vma = self.tree.find(address)
        if vma is not None and vma.start <= address:
            self.cached = vma
        return vma

    def account(self, flags: int, pages: int) -> None:
        """Count `pages` more (or, negative, fewer) of a VMA with these flags (vm_stat_account)."""
        if pages < 0 and self.total_vm > self.peak_vm:
            self.peak_vm = self.total_vm
        self.total_vm += pages
        if flags & (VM_EXEC | VM_WRITE | VM_GROWSDOWN) == VM_EXEC:
            self.exec_vm += pages
        elif flags & VM_GROWSDOWN:
            self.stack_vm += pages
        elif flags & (VM_WRITE | VM_SHARED) == VM_WRITE:
            self.data_vm += pages
        if flags & VM_LOCKED:
            self.locked_vm += pages

    def add(self, vma: Vma) -> None:
        """A new VMA, counted."""
        self.tree.insert(vma)
        self.account(vma.flags, (vma.end - vma.start) >> self.page_shift)

    def drop(self, vma: Vma) -> None:
        """A VMA goes, counted; its pages are gone or another VMA's."""
        self.account(vma.flags, -((vma.end - vma.start) >> self.page_shift))
        self.tree.remove(vma)
        vma.leave()
        self.cached = None

    def set_borders(self, vma: Vma, start: int, end: int) -> None:
        """Move a VMA's borders; its pgoff follows its start. Counted."""
        self.account(vma.flags, ((end - start) >> self.page_shift) - ((vma.end - vma.start) >> self.page_shift))
        if start > vma.start:
            vma.pgoff += (start - vma.start) >> self.page_shift
        else:
            vma.pgoff -= (vma.start - start) >> self.page_shift
        self.tree.resize(vma, start, end)
        self.cached = None

    # pages

    def count_page(self, flags: int, pages: int) -> None:
        """`pages` more (or, negative, fewer) pages of a frame with these FRAME_* bits are mapped here."""
        if flags & FRAME_ANON:
            self.anon_pages += pages

    def slot(self, address: int) -> int:
        """Host address of the permission byte of the page at `address`."""
        return self.permissions + ((address & self.mask) >> self.page_shift)

    def note_peak(self) -> None:
        """Resident pages are about to become fewer: remember how many there were (update_hiwater_rss)."""
        resident = self.anon_pages + self.file_pages + self.shmem_pages
        if resident > self.peak_pages:
            self.peak_pages = resident

    def zap(self, start: int, end: int) -> None:
        """Unmap every page of [start, end): frames that nobody else has are free, swap slots too."""
        self.note_peak()
        at = start
        while at < end:
            table = self.pages.find(at)
            stop = self.pages.reach if self.pages.reach < end else end
            if table:
                self.zap_table(table, at, stop)
            at = stop

    def zap_table(self, table: int, start: int, end: int) -> None:
        """`zap` within one last-level table. Frames in a row are freed together."""
        first = (start >> self.page_shift) & ((1 << self.pages.bits) - 1)
        count = (end - start) >> self.page_shift
        run = run_length = gone = 0
        for i in range(count):
            at = table + 8 * (first + i)
            pte = load64(at)
            if pte == 0:
                continue
            store64(at, 0)
            gone += 1
            if not self.unmap(pte, start + (i << self.page_shift)):
                continue
            pfn = pte >> self.page_shift
            if pfn != run + run_length:
                self.frames.give_run(run, run_length)
                run = pfn
                run_length = 0
            run_length += 1
        self.frames.give_run(run, run_length)
        if gone:
            self.wipe_window(start, end)

    def unmap(self, pte: int, address: int) -> bool:
        """One entry less refers to what `pte` says; True when that leaves a frame free for the caller to give back."""
        if pte & PTE_ZERO or not pte & PTE_MAPPED:
            return False
        pfn = pte >> self.page_shift
        flags = load16(self.frames.flags_at + 2 * pfn)
        self.count_page(flags, -1)
        count = load32(self.frames.mapped_at + 4 * pfn) - 1
        store32(self.frames.mapped_at + 4 * pfn, count)
        home = load64(self.frames.home_at + 8 * pfn)
        if count == 0:
            if home:
                if home == self.window + (address & self.mask):
                    store64(self.frames.home_at + 8 * pfn, 0)
                else:
                    self.frames.drop_bytes(pfn)
            self.frames.set_flags(pfn, 0)
            return True
        if home:
            self.leave_window(pfn, address)
        return False

    def leave_window(self, pfn: int, address: int) -> None:
        """The page at `address` stops mapping the frame: if this window holds its bytes, they move to `storage`."""
        here = self.window + (address & self.mask)
        if load64(self.frames.home_at + 8 * pfn) == here:
            copy(self.frames.own_bytes(pfn), here, self.page_size)

    def wipe_window(self, start: int, end: int) -> None:
        """No page of [start, end) has bytes in the window any more: zeros there, and no permission.

        A run of DISCARD_PAGES goes back to the host by madvise, a shorter one is cleared in place.
        """
        at = self.slot(start)
        stop = at + ((end - start) >> self.page_shift)
        while at < stop:
            if at & 7 == 0 and stop - at >= 8 and load64(at) & BYTES_WORD == 0:
                at += 8
                continue
            if not load8(at) & BYTES:
                at += 1
                continue
            first = at
            while at < stop and load8(at) & BYTES:
                at += 1
            place = self.window + ((first - self.permissions) << self.page_shift)
            if at - first >= DISCARD_PAGES:
                discard(place, (at - first) << self.page_shift)
            else:
                fill(place, 0, (at - first) << self.page_shift)
        fill(self.slot(start), 0, (end - start) >> self.page_shift)

    def grant(self, address: int, pte: int) -> None:
        """Set the permission bits that `pte` now grants to the page at `address`, and clear the others."""
        at = self.slot(address)
        bits = load8(at) & BYTES
        if pte & PTE_PRESENT:
            home = load64(self.frames.home_at + 8 * (pte >> self.page_shift))
            if home == 0 or home == self.window + (address & self.mask & ~(self.page_size - 1)):
                bits |= READ
                if pte & PTE_WRITABLE and pte & PTE_DIRTY:
                    bits |= TOUCHED
                    if bits & BYTES:
                        bits |= WRITE
        store8(at, bits)

    def claim(self, address: int, pfn: int) -> int:
        """The writable page at `address` gets its bytes, if it has none: the host address of its first byte."""
        home = load64(self.frames.home_at + 8 * pfn)
        if home:
            return home
        here = self.window + (address & self.mask & ~(self.page_size - 1))
        store64(self.frames.home_at + 8 * pfn, here)
        store8(self.slot(address), load8(self.slot(address)) | BYTES)
        return here

    def may_write(self, vma: Vma, pte: int) -> bool:
        """Whether a mapped page may be written without a fault, the VMA allowing it (can_change_pte_writable)."""
        if vma.flags & VM_SHARED:
            return bool(pte & PTE_DIRTY)
        return bool(load16(self.frames.flags_at + 2 * (pte >> self.page_shift)) & FRAME_EXCLUSIVE)

    def move_bytes(self, pfn: int, address: int, to: int) -> None:
        """The frame's page moves from `address` to `to`; bytes that lie in the window move along."""
        here = self.window + (address & self.mask)
        if load64(self.frames.home_at + 8 * pfn) == here:
            there = self.window + (to & self.mask)
            copy(there, here, self.page_size)
            store64(self.frames.home_at + 8 * pfn, there)
            store8(self.slot(to), load8(self.slot(to)) | BYTES)

    def free_whole_tables(self, start: int, end: int) -> None:
        """Free the last-level tables whose whole span lies in [start, end), which is zapped (CONFIG_PT_RECLAIM)."""
        at = (start + self.pages.span - 1) & ~(self.pages.span - 1)
        while at + self.pages.span <= end:
            if self.pages.find(at):
                self.pages.free_table(self.pages.upper(at))
            at = self.pages.reach

    def revoke(self, start: int, end: int, bits: int) -> None:
        """Clear `bits` of the permission bytes of [start, end)."""
        at = self.slot(start)
        for i in range((end - start) >> self.page_shift):
            byte = load8(at + i)
            if byte & bits:
                store8(at + i, byte & ~bits)

    def why(self, address: int, code: int) -> str:
        """The reason of a stop in words."""
        vma = self.find(address)
        if vma is None or vma.start > address:
            return "no mapping there"
        kind = "".join(letter if vma.flags & bit else "-" for letter, bit in (("r", 1), ("w", 2), ("x", 4)))
        return f"the mapping {vma.start:x}-{vma.end:x} {kind} {vma.label or ''}".rstrip() + " does not allow it"
