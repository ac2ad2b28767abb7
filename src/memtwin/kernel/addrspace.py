# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""AddressSpace: a process's memory with the kernel's system calls as methods.

`sys_*` are the raw system calls: they return what the kernel returns, a result or -errno, and never raise. Their
numbers are the kernel's (kernel/flags.py); in place of a file descriptor stands a file object, or None.
"""

from __future__ import annotations

import ctypes
import errno
from typing import TYPE_CHECKING, Any

import cython

from memtwin.errors import UserError
from memtwin.kernel.mm import Mm
from memtwin.kernel.vma import Vma

if not cython.compiled:
    from memtwin.hostmem import load8, load64
    from memtwin.kernel.advise import do_madvise
    from memtwin.kernel.fault import handle_fault, host_for
    from memtwin.kernel.flags import (
        EINVAL,
        EVENT_BRK,
        EVENT_FORK,
        EVENT_SIGNAL,
        MAP_HUGETLB,
        MLOCK_ONFAULT,
        PTE_MAPPED,
        PTE_ZERO,
        TOUCHED,
        VM_ACCOUNT,
        VM_DONTDUMP,
        VM_DONTEXPAND,
        VM_GROWSDOWN,
        VM_IO,
        VM_LOCKED,
        VM_LOCKONFAULT,
        VM_MAYEXEC,
        VM_MAYREAD,
        VM_MAYSHARE,
        VM_MAYWRITE,
        VM_NOHUGEPAGE,
        VM_PFNMAP,
        VM_READ,
        VM_SHARED,
        VM_WRITE,
    )
    from memtwin.kernel.fork import copy_space, may_fork
    from memtwin.kernel.hugemap import map_reserved
    from memtwin.kernel.hugetlb import unmap_at
    from memtwin.kernel.locks import do_mlock, do_mlockall, do_munlock, lock_all
    from memtwin.kernel.mapping import do_munmap
    from memtwin.kernel.naming import set_anon_name
    from memtwin.kernel.newmap import do_brk, do_mmap, map_zeros
    from memtwin.kernel.protect import do_mprotect
    from memtwin.kernel.remap import do_mremap
    from memtwin.kernel.sync import do_mincore, do_msync
    from memtwin.kernel.touch import touch_range
    from memtwin.kernel.vma import new_vma
    from memtwin.memory import WRITE

    CALL_BRK, CALL_MMAP, CALL_MUNMAP, CALL_MREMAP, CALL_MPROTECT, CALL_MADVISE, CALL_MLOCK, CALL_MUNLOCK = range(8)
    CALL_MLOCKALL, CALL_MUNLOCKALL, CALL_MINCORE, CALL_MSYNC, CALL_PRCTL, CALLS = range(8, 14)

if TYPE_CHECKING:
    from memtwin.kernel.machine import Machine

CALL_NAMES = (
    "brk", "mmap", "munmap", "mremap", "mprotect", "madvise", "mlock", "munlock", "mlockall", "munlockall", "mincore",
    "msync", "prctl",
)  # fmt: skip


COMPAT_TASK_SIZE = 0xFFFFE000


class AddressSpace(Mm):
    """An address space without mappings, on `machine` or on a machine of its own.

    mmap_base, brk_start: where the stack's size and the program put them; here what a process without address
    randomisation, an 8 MiB stack limit and no program has. A recorded process sets them by `set_layout`.
    compat: of a 32-bit process on a 64-bit kernel. UserError: the machine's kernel profile has none.
    """

    def __init__(self, machine: Machine | None = None, window_bits: int = 44, compat: bool = False) -> None:
        if machine is None:
            from memtwin.kernel.machine import Machine

            machine = Machine()
        Mm.__init__(self, machine, window_bits)
        if compat:
            self.become_compat()
        if not cython.compiled:
            self.counts = [0] * CALLS
        program = self.task_size // 3 * 2 & ~(self.page_size - 1)  # ELF_ET_DYN_BASE
        brk_start = 0x56560000 if compat else program + 12 * self.page_size
        self.set_layout(self.task_size - (128 << 20) & ~(self.page_size - 1), brk_start)

    def become_compat(self) -> None:
        """The lower 4 GiB but for two pages (IA32_PAGE_OFFSET of arch/x86/include/asm/page_64_types.h)."""
        if self.profile.architecture != "x86_64" or self.page_size != 4096:
            raise UserError(f"{self.profile.name}, pages of {self.page_size} bytes: 32-bit processes are modelled on "
                            "x86_64 with pages of 4096 alone")  # fmt: skip
        self.compat = True
        self.task_size = COMPAT_TASK_SIZE

    def set_layout(self, mmap_base: int, brk_start: int) -> None:
        """Where top-down placement begins, and where the heap will; the break is there until brk moves it."""
        if mmap_base % self.page_size or mmap_base > self.task_size or brk_start > self.task_size:
            raise UserError(f"mmap_base {mmap_base:#x}, brk_start {brk_start:#x}: not page addresses of a process")
        self.mmap_base = mmap_base
        self.brk_start = self.brk_end = brk_start

    def restore_vma(
        self, start: int, end: int, prot: int, flags: int = 0x22, offset: int = 0, label: str | None = None
    ) -> None:
        """Put in a mapping as a recorded /proc/PID/maps has it, whatever it overlaps; it has no pages yet.

        prot: PROT_*; flags: MAP_PRIVATE or MAP_SHARED; label: its path or "[heap]", "[stack]" and the like. UserError:
        a range that is empty, unaligned or outside the address space.
        """
        if not 0 <= start < end <= self.task_size or (start | end) & (self.page_size - 1):
            raise UserError(f"mapping {start:#x}-{end:#x} {label or ''}: empty, unaligned or outside the address space")
        do_munmap(self, start, end - start)
        bits = (prot & 7) | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC
        if flags & 1:
            bits |= VM_SHARED | VM_MAYSHARE
        elif bits & VM_WRITE:
            bits |= VM_ACCOUNT
        if label == "[stack]":
            bits |= VM_GROWSDOWN
            self.start_stack = end - 1
        elif label in ("[vvar]", "[vvar_vclock]"):
            bits = VM_READ | VM_MAYREAD | VM_PFNMAP | VM_IO | VM_DONTEXPAND | VM_DONTDUMP
        elif label == "[vdso]":
            bits |= VM_DONTEXPAND
        anonymous = label is None or label in ("[heap]", "[stack]") or label.startswith("[anon")
        file = None if anonymous else self.machine.label_file(label)
        vma = new_vma(start, end, bits, (start if anonymous else offset) >> self.page_shift, file, self)
        vma.label = None if label in ("[heap]", "[stack]") else label  # those two follow from the layout
        if anonymous and bits & VM_WRITE:
            anon = self.machine.new_anon()
            vma.join((anon,), anon)
        self.add(vma)

    def fork(self, window_bits: int = 44) -> AddressSpace:
        """fork(2): a child's address space, its pages shared with this one until either writes.

        OSError(ENOMEM): overcommit does not allow a second promise of all its private memory (vm.overcommit_memory 2).
        UserError: no frame is free for the child's page tables, or the host gives no window.
        """
        if not may_fork(self):
            raise OSError(errno.ENOMEM, "fork: overcommit does not allow the child's memory")
        child = AddressSpace(self.machine, window_bits, self.compat)
        child.set_layout(self.mmap_base, self.brk_start)
        child.brk_end = self.brk_end
        child.start_code, child.end_code, child.start_stack = self.start_code, self.end_code, self.start_stack
        child.mmap_min_addr = self.mmap_min_addr
        child.max_map_count = self.max_map_count
        child.inherit_limits(self)
        child.def_flags = self.def_flags & VM_NOHUGEPAGE
        if not copy_space(self, child):
            child.release_all()
            raise UserError("no frame is free for the page tables of a child: the machine has too little RAM")
        if self.frames.observed:
            self.tell(EVENT_FORK, 0, 0, 0, child.number)
        return child

    # faults

    def fault(self, address: int, access: int) -> int:
        """An access without permission byte: page fault, then the host address of the byte; 0 when it stopped."""
        if not (access == WRITE and load8(self.slot(address)) & TOUCHED and self.owned(address)):
            code = handle_fault(self, address, access)
            if code:
                if self.frames.observed:
                    self.tell(EVENT_SIGNAL, address, address + 1, code >> 8, code & 255)
                self.stop(code >> 8, code & 255, address, access)
                return 0
        return host_for(self, address, access)

    def zap_reserved(self, address: int) -> None:
        """Unmap the reserved huge page that may be mapped at `address`."""
        unmap_at(self, address)

    def touch(self, address: int, length: int, access: int) -> int:
        """Access every page of [address, address + length) as the program would, without storing bytes.

        access: READ or WRITE. Returns how many faults it cost; an illegal access stops it (`stop_signal`).
        """
        if length == 0:
            return 0
        before = self.min_flt + self.maj_flt
        touch_range(self, address, address + length, access)
        return self.min_flt + self.maj_flt - before

    # system calls

    def count_call(self, call: int) -> None:
        """One system call more."""
        self.counts[call] += 1

    def sys_mmap(self, address: int, length: int, prot: int, flags: int, file: Any, offset: int) -> int:
        """mmap(2)."""
        self.count_call(CALL_MMAP)
        return self.vm_mmap(address, length, prot, flags, file, offset)

    def sys_munmap(self, address: int, length: int) -> int:
        """munmap(2)."""
        self.count_call(CALL_MUNMAP)
        return do_munmap(self, address, length)

    def sys_mprotect(self, address: int, length: int, prot: int) -> int:
        """mprotect(2)."""
        self.count_call(CALL_MPROTECT)
        return do_mprotect(self, address, length, prot)

    def sys_mremap(self, address: int, old_length: int, new_length: int, flags: int, new_address: int) -> int:
        """mremap(2)."""
        self.count_call(CALL_MREMAP)
        return do_mremap(self, address, old_length, new_length, flags, new_address)

    def sys_brk(self, address: int) -> int:
        """The brk system call: the new break, or the old one when it cannot be; brk(0) asks."""
        self.count_call(CALL_BRK)
        before = self.brk_end
        after = do_brk(self, address)
        if after != before and self.frames.observed:
            self.tell(EVENT_BRK, before, after, 0, 0)
        return after

    def sys_madvise(self, address: int, length: int, advice: int) -> int:
        """madvise(2)."""
        self.count_call(CALL_MADVISE)
        return do_madvise(self, address, length, advice)

    def sys_set_vma_name(self, address: int, length: int, name: str | None) -> int:
        """prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, address, length, name): see naming.py."""
        self.count_call(CALL_PRCTL)
        return set_anon_name(self, address, length, name)

    # what the kernel does for itself: no system calls, not counted as such

    def vm_mmap(self, address: int, length: int, prot: int, flags: int, file: Any, offset: int) -> int:
        """mmap as execve and the like use it."""
        if flags & MAP_HUGETLB:
            return map_reserved(self, address, length, prot, flags, file, offset)
        return do_mmap(self, address, length, prot, flags, file, offset)

    def vm_brk(self, start: int, length: int, execute: int) -> int:
        """Private zeros at a fixed place, both in whole pages: 0 or -ENOMEM. execute: PROT_EXEC or 0."""
        return map_zeros(self, start, length, execute)

    def vm_munmap(self, address: int, length: int) -> int:
        """munmap likewise."""
        return do_munmap(self, address, length)

    def sys_mlock(self, address: int, length: int) -> int:
        """mlock(2)."""
        self.count_call(CALL_MLOCK)
        return do_mlock(self, address, length, VM_LOCKED)

    def sys_mlock2(self, address: int, length: int, flags: int) -> int:
        """mlock2(2)."""
        self.count_call(CALL_MLOCK)
        if flags & ~MLOCK_ONFAULT:
            return -EINVAL
        return do_mlock(self, address, length, VM_LOCKED | (VM_LOCKONFAULT if flags else 0))

    def sys_munlock(self, address: int, length: int) -> int:
        """munlock(2)."""
        self.count_call(CALL_MUNLOCK)
        return do_munlock(self, address, length)

    def sys_mlockall(self, flags: int) -> int:
        """mlockall(2)."""
        self.count_call(CALL_MLOCKALL)
        return do_mlockall(self, flags)

    def sys_munlockall(self) -> int:
        """munlockall(2)."""
        self.count_call(CALL_MUNLOCKALL)
        self.def_flags &= ~(VM_LOCKED | VM_LOCKONFAULT)
        lock_all(self, 0)
        return 0

    def sys_msync(self, address: int, length: int, flags: int) -> int:
        """msync(2)."""
        self.count_call(CALL_MSYNC)
        return do_msync(self, address, length, flags)

    def mincore_into(self, seen: list[bytes], address: int, length: int) -> int:
        """mincore(2), its vector appended to `seen` in pieces: a byte a page, 1 when it is in memory."""
        self.count_call(CALL_MINCORE)
        return do_mincore(self, seen, address, length)

    # views

    @property
    def call_counts(self) -> dict[str, int]:
        """How often each system call was made."""
        return {name: self.counts[call] for call, name in enumerate(CALL_NAMES) if self.counts[call]}

    def resident_pages(self, start: int, end: int) -> int:
        """How many pages of [start, end) are in RAM; the zero page counts nowhere."""
        count = 0
        at = start
        while at < end:
            table = self.pages.find(at)
            stop = self.pages.reach if self.pages.reach < end else end
            if table:
                first = (at >> self.page_shift) & ((1 << self.pages.bits) - 1)
                for i in range(first, first + ((stop - at) >> self.page_shift)):
                    pte = load64(table + 8 * i)
                    if pte & PTE_MAPPED and not pte & PTE_ZERO:
                        count += 1
            at = stop
        return count

    @property
    def rss_pages(self) -> int:
        """Resident pages, as /proc/PID/statm counts them."""
        return int(self.anon_pages + self.file_pages + self.shmem_pages)

    def permission_byte(self, address: int) -> int:
        """The permission byte of the page at `address`, for checks."""
        return load8(self.slot(address))

    def permission_bytes(self) -> bytes:
        """All permission bytes of the window, for checks; only of a small window, as the host must read them all."""
        return ctypes.string_at(self.permissions, (self.mask + 1) >> self.page_shift)

    def window_place(self, address: int) -> int:
        """Host address where the page at `address` has its bytes if they lie in the window, for checks."""
        return self.window + (address & self.mask & ~(self.page_size - 1))

    def vmas(self) -> list[Vma]:
        """All VMAs by address."""
        return list(self.tree)
