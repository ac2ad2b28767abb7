# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from memtwin.hostmem cimport load8, load64, store8, store16, store64
from memtwin.kernel.flags cimport *
from memtwin.kernel.frames cimport Frames
from memtwin.kernel.group cimport Group

cdef inline uint64_t small_pte(uint64_t entry, uint64_t offset, int page_shift) noexcept:
    return (entry & ~<uint64_t>PTE_HUGE) + (offset >> page_shift << page_shift)

@cython.final
cdef class PageTable:
    cdef readonly Frames frames
    cdef public Group group
    cdef readonly int levels, page_shift, bits, table_shift
    cdef readonly uint64_t root, tables, span, reach, huge
    cdef public uint64_t reserved
    cdef readonly uint64_t reserved_size
    cdef uint64_t cached_number, cached_table

    cdef uint64_t find(self, uint64_t address) noexcept
    cpdef uint64_t entry(self, uint64_t address) noexcept
    cdef uint64_t make(self, uint64_t address) noexcept
    cdef uint64_t make_upper(self, uint64_t address) noexcept
    cdef uint64_t make_at(self, uint64_t address, int level_shift) noexcept
    cpdef uint64_t reserved_at(self, uint64_t address) noexcept
    cdef uint64_t pte(self, uint64_t address) noexcept
    cdef uint64_t upper(self, uint64_t address) noexcept
    cdef uint64_t level_at(self, uint64_t address, int level_shift) noexcept
    cdef uint64_t new_table(self) noexcept
    cpdef bint is_huge(self, uint64_t address) noexcept
    cdef void set_huge(self, uint64_t address) noexcept
    cdef void clear_huge(self, uint64_t address) noexcept
    cdef void forget(self) noexcept
    cdef void free_table(self, uint64_t entry_at) noexcept
    @cython.locals(group=Group)
    cdef void give_table(self, uint64_t pfn) noexcept
    cdef void free_range(self, uint64_t start, uint64_t end, uint64_t floor, uint64_t ceiling) noexcept
    cdef void free_below(self, uint64_t table, int level, uint64_t start, uint64_t end, uint64_t floor,
                         uint64_t ceiling) noexcept
    cdef void release(self) noexcept
