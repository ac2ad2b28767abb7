# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Mm: the state of one address space (struct mm_struct), and what every part of the kernel does with it.

The parts themselves are functions over an Mm, one file each: mapping, mremap, madvise, fault, fork. AddressSpace is
the Mm that has them as methods.

Where a page's bytes are: pagebytes.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cython

from memtwin.kernel.group import Group
from memtwin.kernel.pagebytes import PageBytes
from memtwin.kernel.pagetable import PageTable
from memtwin.kernel.vma import Vma, VmaTree

if not cython.compiled:
    from memtwin.hostmem import (
        load16,
        load32,
        load64,
        store32,
        store64,
    )
    from memtwin.kernel.flags import (
        EVENT_EXIT,
        EVENT_SPLIT_HUGE,
        FRAME_ANON,
        FRAME_DIRTY,
        FRAME_EXCLUSIVE,
        FRAME_FILE,
        FRAME_HUGE,
        FRAME_LISTED,
        FRAME_MEMORY,
        FRAME_SWAPCACHE,
        PTE_DIRTY,
        PTE_GUARD,
        PTE_MAPPED,
        PTE_NONE,
        PTE_PKEY,
        PTE_PRESENT,
        PTE_SWAP,
        PTE_WRITABLE,
        PTE_ZERO,
        SEGV_MAPERR,
        SEGV_PKUERR,
        SI_KERNEL,
        VM_ACCESS,
        VM_ACCOUNT,
        VM_EXEC,
        VM_GROWSDOWN,
        VM_HUGEPAGE,
        VM_HUGETLB,
        VM_LOCKED,
        VM_NOHUGEPAGE,
        VM_PKEY,
        VM_SHARED,
        VM_WRITE,
    )
    from memtwin.kernel.window import ALL_ONES

    def is_short(mm: Mm) -> bool:
        """Whether memory must be found before frames are taken: the machine's is short, or the group's limit is hit.

        The door of every path that takes frames for a process asks this, and calls `relieve` when it is so.
        """
        return bool(mm.frames.free < mm.frames.low or mm.group.usage >= mm.group.limit)

    TOUCHED_WORD = 0x0404040404040404

if TYPE_CHECKING:
    from memtwin.kernel.machine import Machine


RLIM_INFINITY = 2**64 - 1


class Mm(PageBytes):
    """An empty address space on `machine`.

    min_flt, maj_flt: faults as getrusage counts them. anon_pages, file_pages, shmem_pages: resident, their sum is RSS;
    swap_pages: in swap; reserved_pages: of reserved huge pages, not in RSS; maps_reserved: it has, or had, mappings of
    those. total_vm, data_vm, stack_vm, exec_vm, locked_vm: pages of VMAs, as /proc/PID/status has them.
    peak_pages, peak_vm: the most of resident and of VMAs' pages before they last became fewer (VmHWM, VmPeak).
    start_code, end_code, start_stack: where execve put the program's code and stack. def_flags: VM_* bits that every
    new mapping gets, after mlockall. group: who is charged for pages that come in. stack_limit, memlock_limit,
    as_limit, data_limit: resource limits (getrlimit(2)), bytes. data_bytes: of the program's own data, which data_limit
    counts together with the heap. admin: it is root's, with every capability. compat: of a 32-bit process.
    oom_score_adj: as /proc/PID/oom_score_adj. number: of this space in its machine.
    """

    def __init__(self, machine: Machine, window_bits: int = 44) -> None:
        profile = machine.profile
        PageBytes.__init__(self, profile.page_size, window_bits, machine.frames)
        self.machine: Any = machine
        self.profile = profile
        self.zero_pfn = machine.zero_pfn
        self.swap = machine.swap_area
        self.overcommit = machine.overcommit
        self.admin = True
        self.group = machine.root_group
        self.as_limit = self.data_limit = RLIM_INFINITY
        self.data_bytes = 0
        self.oom_score_adj = 0
        self.number = machine.register(self)
        self.tree = VmaTree()
        self.pages = PageTable(self.frames, profile.levels)
        self.cached: Any = None
        self.task_size = profile.task_size
        self.canonical_end = profile.canonical_end
        self.guard_gap = profile.stack_guard_pages << self.page_shift
        self.huge_size = profile.huge_size
        self.around = max(profile.fault_around_bytes >> self.page_shift, 1)
        self.mmap_min_addr = profile.mmap_min_addr
        self.reclaims_tables = profile.reclaim_tables
        self.max_map_count = profile.max_map_count
        self.thp = ("never", "madvise", "always").index(profile.thp)
        self.whole = self.compat = False
        self.stack_limit = 8 << 20
        self.memlock_limit = ALL_ONES
        self.mmap_base = self.def_flags = 0
        self.start_code = self.end_code = self.start_stack = 0
        self.brk_start = self.brk_end = 0
        self.min_flt = self.maj_flt = 0
        self.anon_pages = self.file_pages = self.shmem_pages = self.swap_pages = self.peak_pages = self.peak_vm = 0
        self.reserved_pages = 0
        self.maps_reserved = False
        self.total_vm = self.data_vm = self.stack_vm = self.exec_vm = self.locked_vm = 0

    def __del__(self) -> None:
        if self.pages is not None and self.has_machine():  # both garbage: the machine may have gone first
            self.release_all()
        PageBytes.__del__(self)

    def has_machine(self) -> bool:
        """Whether the tables of the machine's frames, lists and swap slots are still there."""
        swap, pages = self.swap, self.group.policy.pages
        return bool(self.frames.mapped_at and pages.links_at and (swap.tables_at or swap.total == 0))

    def release_all(self) -> None:
        """exec and exit: every mapping, page and table goes; what others share stays theirs. Nothing can be mapped
        afterwards."""
        if self.pages.root == 0:
            return
        if self.frames.observed:
            self.tell(EVENT_EXIT, 0, 0, 0, 0)
        vma = self.tree.first
        while vma is not None:
            following = vma.next
            self.zap(vma.start, vma.end)
            self.drop(vma)
            vma = following
        self.pages.free_range(0, self.task_size, 0, 0)
        self.pages.release()

    def tell(self, code: int, start: int, end: int, frame: int, old_frame: int) -> None:
        """Something is about to happen here, EVENT_*: tell the observers. Callers ask `frames.observed` first."""
        self.machine.observers.tell(self, code, start, end, frame, old_frame)

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
        if flags & VM_ACCOUNT:
            self.frames.committed += pages
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
        if vma.inode is not None:
            vma.inode.vmas[vma] = None
        self.account(vma.flags, (vma.end - vma.start) >> self.page_shift)

    def drop(self, vma: Vma) -> None:
        """A VMA goes, counted; its pages are gone or another VMA's."""
        self.account(vma.flags, -((vma.end - vma.start) >> self.page_shift))
        self.tree.remove(vma)
        if vma.promise is not None:
            vma.promise.end(vma)
        vma.leave()
        if vma.inode is not None:
            vma.inode.forget(vma)
        self.cached = None

    def set_borders(self, vma: Vma, start: int, end: int) -> None:
        """Move a VMA's borders; its pgoff follows its start. Counted."""
        self.split_at(start)
        self.split_at(end)
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
        elif flags & FRAME_FILE:
            if flags & FRAME_MEMORY:
                self.shmem_pages += pages
            else:
                self.file_pages += pages

    def note_peak(self) -> None:
        """Resident pages are about to become fewer: remember how many there were (update_hiwater_rss)."""
        resident = self.anon_pages + self.file_pages + self.shmem_pages
        if resident > self.peak_pages:
            self.peak_pages = resident

    def zap(self, start: int, end: int) -> None:
        """Empty every entry of [start, end): frames that nobody else has are free, swap slots and markers too."""
        self.zap_range(start, end, True)

    def zap_pages(self, start: int, end: int) -> None:
        """`zap`, but the markers of MADV_GUARD_INSTALL stay."""
        self.zap_range(start, end, False)

    def zap_range(self, start: int, end: int, markers: bool) -> None:
        """`zap`; markers: those of guard regions too. A huge page that lies in the range as a whole takes its table
        along, one that does not is split."""
        self.note_peak()
        at = start
        while at < end:
            table = self.pages.find(at)
            stop = self.pages.reach if self.pages.reach < end else end
            if table:
                if self.pages.huge and self.pages.is_huge(at):
                    if stop - at == self.huge_size:
                        self.zap_huge(table, at)
                        at = stop
                        continue
                    self.split_huge(at)
                self.zap_table(table, at, stop, markers)
            elif self.pages.reserved:
                self.zap_reserved(at)
            at = stop

    def zap_reserved(self, address: int) -> None:
        """Unmap the reserved huge page that may be mapped at `address`. Virtual."""

    def zap_table(self, table: int, start: int, end: int, markers: bool) -> None:
        """`zap_range` within one last-level table. Frames in a row are freed together."""
        first = (start >> self.page_shift) & ((1 << self.pages.bits) - 1)
        count = (end - start) >> self.page_shift
        run = run_length = gone = 0
        for i in range(count):
            at = table + 8 * (first + i)
            pte = load64(at)
            if pte == 0 or (pte & PTE_GUARD and not markers):
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
        if gone and self.owned(start):
            self.wipe_window(start, end)

    def unmap(self, pte: int, address: int) -> bool:
        """One entry less refers to what `pte` says; True when that leaves a frame free for the caller to give back."""
        if pte & PTE_SWAP:
            self.swap.drop(pte >> self.page_shift)
            self.swap_pages -= 1
            return False
        if pte & PTE_ZERO or not pte & PTE_MAPPED:
            return False
        pfn = pte >> self.page_shift
        flags = load16(self.frames.flags_at + 2 * pfn)
        self.count_page(flags, -1)
        if flags & FRAME_HUGE and not self.whole:
            self.folio_sub(pfn, 1)
        count = load32(self.frames.mapped_at + 4 * pfn) - 1
        store32(self.frames.mapped_at + 4 * pfn, count)
        if flags & FRAME_FILE:
            if pte & PTE_DIRTY:
                self.frames.set_flags(pfn, flags | FRAME_DIRTY)
            return False
        home = load64(self.frames.home_at + 8 * pfn)
        if count == 0 and (not flags & FRAME_SWAPCACHE or self.swap.uncache(pfn)):
            if flags & FRAME_LISTED:
                self.frames.delist(pfn)
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

    def join(self, group: Group) -> None:
        """From now on `group` is charged for what this space brings in; what is there already stays where it is."""
        self.group = group
        self.pages.group = group

    def inherit_limits(self, parent: Mm) -> None:
        """fork: group, limits, rights, program and oom_score_adj are the parent's."""
        self.join(parent.group)
        self.as_limit = parent.as_limit
        self.data_limit, self.data_bytes = parent.data_limit, parent.data_bytes
        self.stack_limit = parent.stack_limit
        self.memlock_limit = parent.memlock_limit
        self.admin = parent.admin
        self.oom_score_adj = parent.oom_score_adj

    def end_by(self, signal: int) -> None:
        """The process is killed by a signal: whatever it does next finds it stopped."""
        self.stop(signal, 0, 0, 0)

    def discard_pages(self, start: int, end: int) -> None:
        """`zap` for callers that are not compiled."""
        self.zap(start, end)

    def relieve(self) -> bool:
        """Reclaim until memory is no more short (kswapd, direct reclaim, OOM killer); False: this process is killed."""
        return bool(self.machine.reclaim.relieve(self))

    # huge pages

    def wants_huge(self, vma: Vma) -> bool:
        """Whether faults in the VMA may map huge pages."""
        if self.thp == 0 or not vma.anonymous or vma.flags & VM_NOHUGEPAGE:
            return False
        return self.thp == 2 or vma.flags & VM_HUGEPAGE != 0

    def zap_huge(self, table: int, start: int) -> None:
        """Unmap the huge page at `start`; its table goes too."""
        pte = load64(table)
        if pte & PTE_MAPPED and not pte & PTE_ZERO:
            self.folio_sub(pte >> self.page_shift, 1)
        self.whole = True
        self.zap_table(table, start, start + self.huge_size, True)
        self.whole = False
        self.pages.clear_huge(start)
        self.pages.free_table(self.pages.upper(start))

    def split_huge(self, address: int) -> None:
        """The huge page mapped at `address` is mapped as single pages from now on (__split_huge_pmd)."""
        pte = load64(self.pages.find(address))
        if self.frames.observed:
            self.tell(EVENT_SPLIT_HUGE, address & ~(self.huge_size - 1), address, pte >> self.page_shift, 0)
        if pte & PTE_MAPPED and not pte & PTE_ZERO:
            self.folio_add(pte >> self.page_shift, 1 << self.pages.bits)
            self.folio_sub(pte >> self.page_shift, 1)
            if pte & PTE_DIRTY:
                self.folio_of(pte >> self.page_shift).dirty = True
        self.pages.clear_huge(address)

    def split_at(self, address: int) -> None:
        """A VMA shall begin or end at `address`: no huge page may go across it (vma_adjust_trans_huge)."""
        if self.pages.huge and address & (self.huge_size - 1) and self.pages.is_huge(address):
            self.split_huge(address)

    def adopt_huge(self, pte: int) -> None:
        """fork has copied the table of a huge page whose first entry is `pte`."""
        self.pages.huge += 1
        if pte & PTE_MAPPED and not pte & PTE_ZERO:
            self.folio_add(pte >> self.page_shift, 1)

    def mark_huge(self, address: int, bits: int) -> None:
        """Set bits in all entries of the huge page at `address`, as the processor does in its one entry."""
        table = self.pages.find(address)
        for i in range(1 << self.pages.bits):
            store64(table + 8 * i, load64(table + 8 * i) | bits)

    def folio_of(self, pfn: int) -> Any:
        """The huge page that a frame with FRAME_HUGE is part of."""
        return self.frames.folios[pfn & ~((1 << self.pages.bits) - 1)]

    def folio_add(self, pfn: int, times: int) -> None:
        """This space maps the frame's huge page `times` times more."""
        self.folio_of(pfn).add(self.number, times)

    def folio_sub(self, pfn: int, times: int) -> None:
        """This space maps the frame's huge page `times` times less."""
        folio = self.folio_of(pfn)
        folio.sub(self.number, times)
        if folio.count == 0:
            del self.frames.folios[pfn & ~((1 << self.pages.bits) - 1)]

    def readable(self, vma: Vma, pte: int) -> int:
        """A mapped page's entry as the VMA lets loads in: all, none (PROT_NONE), none by its key; no stores yet."""
        pte &= ~(PTE_PRESENT | PTE_NONE | PTE_WRITABLE | PTE_PKEY)
        if not vma.flags & VM_ACCESS:
            return pte | PTE_NONE
        return pte | PTE_PRESENT | (PTE_PKEY if vma.flags & VM_PKEY else 0)

    def may_write(self, vma: Vma, pte: int) -> bool:
        """Whether a mapped page may be written without a fault, the VMA allowing it (can_change_pte_writable)."""
        if vma.flags & VM_SHARED:
            return bool(pte & PTE_DIRTY) or vma.inode is None or vma.inode.in_memory
        return bool(load16(self.frames.flags_at + 2 * (pte >> self.page_shift)) & FRAME_EXCLUSIVE)

    def stop(self, signal: int, code: int, address: int, access: int) -> None:
        """Note the first illegal access. For an address that is none (SI_KERNEL) the kernel knows no address."""
        PageBytes.stop(self, signal, code, 0 if code == SI_KERNEL else address, access)

    def why(self, address: int, code: int) -> str:
        """The reason of a stop in words."""
        if code == SI_KERNEL:
            return "no address: the bits above the highest that the processor translates differ from it"
        vma = self.find(address)
        if vma is None or vma.start > address:
            return "no mapping there"
        if code == SEGV_MAPERR:
            return "a guard page"
        if code == SEGV_PKUERR:
            return f"the mapping {vma.start:x}-{vma.end:x} may only be executed: its protection key forbids it"
        kind = "".join(letter if vma.flags & bit else "-" for letter, bit in (("r", 1), ("w", 2), ("x", 4)))
        return f"the mapping {vma.start:x}-{vma.end:x} {kind} {vma.label or ''}".rstrip() + " does not allow it"

    def why_no_page(self, address: int) -> str:
        """The reason of SIGBUS in words."""
        vma = self.find(address)
        if vma is not None and vma.flags & VM_HUGETLB:
            return "no huge page is left for it in the pool, or its parent has taken the page"
        return "the file ends before that page"
