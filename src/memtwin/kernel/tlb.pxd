# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint64_t
from memtwin.hostmem cimport fill, load64, release, reserve, store64
from memtwin.kernel.addrspace cimport AddressSpace
from memtwin.kernel.flags cimport *

# An entry:
#
#    63  62   61        50 49                    0
#   +---+----+------------+-----------------------+
#   | 1 |HUGE|    ASID    |      page number      |    0: no entry
#   +---+----+------------+-----------------------+
cdef extern from *:
    """
    #define VALID (1ULL << 63)
    #define HUGE_BIT (1ULL << 62)
    #define ASID_SHIFT 50
    #define ASID_MASK (4095ULL << 50)
    #define WHOLE 0xFFFFFFFFFFFFFFFFULL
    """
    const uint64_t VALID, HUGE_BIT, ASID_SHIFT, ASID_MASK, WHOLE

cdef enum:
    MOST_ASIDS = 4096

@cython.final
cdef class TlbArray:
    cdef uint64_t at, bytes
    cdef readonly int64_t sets, ways

    @cython.locals(way=int64_t)
    cdef bint hit(self, uint64_t tag, uint64_t number) noexcept
    @cython.locals(way=int64_t)
    cdef void put(self, uint64_t tag, uint64_t number) noexcept
    @cython.locals(way=int64_t, kept=int64_t, entry=uint64_t)
    cdef void drop(self, uint64_t mask, uint64_t tag) noexcept
    cdef void clear(self) noexcept

@cython.final
cdef class Tlb:
    cdef readonly object shape
    cdef readonly int small_shift, huge_shift, levels
    cdef readonly TlbArray small, huge, second
    cdef readonly int64_t accesses, first_hits, second_hits, walks, walk_loads, flushes
    cdef readonly uint64_t asid, next_asid
    cdef list spaces

    @cython.locals(i=int64_t, address=uint64_t)
    cdef void watch(self, uint64_t at, int64_t count, AddressSpace space) noexcept
    cdef void walk(self, uint64_t address, AddressSpace space, uint64_t small_tag, uint64_t huge_tag) noexcept
    cdef void drop(self, uint64_t mask, uint64_t tag) noexcept

cdef bint is_huge(AddressSpace space, uint64_t address) noexcept
