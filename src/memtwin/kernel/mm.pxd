# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from memtwin.hostmem cimport load16, load32, load64, store32, store64
from memtwin.kernel.flags cimport *
from memtwin.kernel.folio cimport Folio
from memtwin.kernel.frames cimport Frames
from memtwin.kernel.group cimport Group
from memtwin.kernel.overcommit cimport Overcommit
from memtwin.kernel.pagebytes cimport PageBytes
from memtwin.kernel.pagetable cimport PageTable
from memtwin.kernel.swap cimport Swap
from memtwin.kernel.vma cimport AnonVma, Vma, VmaTree
from memtwin.kernel.window cimport ALL_ONES

cdef extern from *:
    """
    #define TOUCHED_WORD 0x0404040404040404ULL
    """
    const uint64_t TOUCHED_WORD


cdef class Mm(PageBytes):
    cdef readonly VmaTree tree
    cdef readonly object machine, profile
    cdef object __weakref__
    cdef readonly Swap swap
    cdef readonly Overcommit overcommit
    cdef public bint admin
    cdef readonly Group group
    cdef public uint64_t as_limit, data_limit, data_bytes
    cdef public int64_t oom_score_adj
    cdef Vma cached
    cdef readonly uint64_t task_size, guard_gap, huge_size, around, canonical_end
    cdef public uint64_t mmap_base, mmap_min_addr
    cdef public uint64_t start_code, end_code, start_stack
    cdef public int64_t max_map_count
    cdef readonly bint reclaims_tables
    cdef readonly uint64_t brk_start, brk_end
    cdef readonly int64_t min_flt, maj_flt
    cdef readonly int64_t number
    cdef readonly int thp
    cdef bint whole
    cdef readonly bint compat
    cdef public uint64_t stack_limit, memlock_limit
    cdef readonly int64_t anon_pages, file_pages, shmem_pages, swap_pages, peak_pages, peak_vm
    cdef public int64_t reserved_pages
    cdef public bint maps_reserved
    cdef readonly int64_t total_vm, data_vm, stack_vm, exec_vm, locked_vm
    cdef readonly uint64_t zero_pfn, def_flags

    @cython.locals(vma=Vma, following=Vma)
    cpdef void release_all(self)
    @cython.locals(vma=Vma)
    cdef Vma find(self, uint64_t address)
    cdef void count_page(self, uint16_t flags, int64_t pages) noexcept
    cdef void account(self, uint64_t flags, int64_t pages) noexcept
    cdef void add(self, Vma vma)
    cdef void drop(self, Vma vma)
    cdef void set_borders(self, Vma vma, uint64_t start, uint64_t end)
    cdef void note_peak(self) noexcept
    cdef void tell(self, int code, uint64_t start, uint64_t end, uint64_t frame, uint64_t old_frame) noexcept
    cdef void zap(self, uint64_t start, uint64_t end) noexcept
    cpdef void zap_pages(self, uint64_t start, uint64_t end) noexcept
    cdef void zap_range(self, uint64_t start, uint64_t end, bint markers) noexcept
    cdef void zap_reserved(self, uint64_t address) noexcept
    cdef void zap_table(self, uint64_t table, uint64_t start, uint64_t end, bint markers) noexcept
    cdef bint wants_huge(self, Vma vma) noexcept
    cdef void zap_huge(self, uint64_t table, uint64_t start) noexcept
    cdef void split_huge(self, uint64_t address) noexcept
    cdef void split_at(self, uint64_t address) noexcept
    cdef void adopt_huge(self, uint64_t pte) noexcept
    cdef void mark_huge(self, uint64_t address, uint64_t bits) noexcept
    cdef Folio folio_of(self, uint64_t pfn)
    cdef void folio_add(self, uint64_t pfn, int64_t times) noexcept
    cdef void folio_sub(self, uint64_t pfn, int64_t times) noexcept
    cdef bint unmap(self, uint64_t pte, uint64_t address) noexcept
    cdef bint relieve(self) noexcept
    cpdef void join(self, Group group)
    cdef uint64_t readable(self, Vma vma, uint64_t pte) noexcept
    cdef bint may_write(self, Vma vma, uint64_t pte) noexcept
    cdef void stop(self, int signal, int code, uint64_t address, int access) noexcept

cdef inline bint is_short(Mm mm) noexcept:
    return mm.frames.free < mm.frames.low or mm.group.usage >= mm.group.limit
