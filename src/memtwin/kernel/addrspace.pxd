# SPDX-License-Identifier: LGPL-2.1-or-later
from libc.stdint cimport int64_t, uint64_t
from memtwin.hostmem cimport load8, load64, store8
from memtwin.kernel.flags cimport *
from memtwin.kernel.advise cimport do_madvise
from memtwin.kernel.fault cimport handle_fault, host_for
from memtwin.kernel.fork cimport copy_space, may_fork
from memtwin.kernel.hugemap cimport map_reserved
from memtwin.kernel.hugetlb cimport unmap_at
from memtwin.kernel.locks cimport do_mlock, do_mlockall, do_munlock, lock_all
from memtwin.kernel.mapping cimport do_munmap
from memtwin.kernel.mm cimport Mm
from memtwin.kernel.naming cimport set_anon_name
from memtwin.kernel.newmap cimport do_brk, do_mmap, map_zeros
from memtwin.kernel.protect cimport do_mprotect
from memtwin.kernel.remap cimport do_mremap
from memtwin.kernel.sync cimport do_mincore, do_msync
from memtwin.kernel.touch cimport touch_range
from memtwin.kernel.vma cimport Vma, new_vma
from memtwin.memory cimport READ, WRITE, Memory

cdef enum:
    CALL_BRK, CALL_MMAP, CALL_MUNMAP, CALL_MREMAP, CALL_MPROTECT, CALL_MADVISE, CALL_MLOCK, CALL_MUNLOCK
    CALL_MLOCKALL, CALL_MUNLOCKALL, CALL_MINCORE, CALL_MSYNC, CALL_PRCTL, CALLS

cdef class AddressSpace(Mm):
    cdef int64_t counts[16]

    cdef uint64_t fault(self, uint64_t address, int access) noexcept
    cdef void zap_reserved(self, uint64_t address) noexcept
    cpdef int64_t sys_mmap(self, uint64_t address, uint64_t length, int64_t prot, int64_t flags, object file,
                           uint64_t offset) noexcept
    cpdef int64_t vm_mmap(self, uint64_t address, uint64_t length, int64_t prot, int64_t flags, object file,
                          uint64_t offset) noexcept
    cpdef int64_t vm_brk(self, uint64_t start, uint64_t length, uint64_t execute) noexcept
    cpdef int64_t vm_munmap(self, uint64_t address, uint64_t length) noexcept
    cpdef int64_t sys_munmap(self, uint64_t address, uint64_t length) noexcept
    cpdef int64_t sys_mprotect(self, uint64_t address, uint64_t length, int64_t prot) noexcept
    cpdef int64_t sys_mremap(self, uint64_t address, uint64_t old_length, uint64_t new_length, int64_t flags,
                             uint64_t new_address) noexcept
    cpdef uint64_t sys_brk(self, uint64_t address) noexcept
    cpdef int64_t sys_madvise(self, uint64_t address, uint64_t length, int64_t advice) noexcept
    cpdef int64_t sys_set_vma_name(self, uint64_t address, uint64_t length, object name) noexcept
    cpdef int64_t sys_mlock(self, uint64_t address, uint64_t length) noexcept
    cpdef int64_t sys_mlock2(self, uint64_t address, uint64_t length, int64_t flags) noexcept
    cpdef int64_t sys_munlock(self, uint64_t address, uint64_t length) noexcept
    cpdef int64_t sys_mlockall(self, int64_t flags) noexcept
    cpdef int64_t sys_munlockall(self) noexcept
    cpdef int64_t sys_msync(self, uint64_t address, uint64_t length, int64_t flags) noexcept
    cpdef int64_t mincore_into(self, list seen, uint64_t address, uint64_t length)
    cpdef int64_t touch(self, uint64_t address, uint64_t length, int access) noexcept
    cpdef int64_t resident_pages(self, uint64_t start, uint64_t end) noexcept
    cdef void count_call(self, int call) noexcept
