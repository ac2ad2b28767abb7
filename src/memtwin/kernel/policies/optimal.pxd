# SPDX-License-Identifier: LGPL-2.1-or-later
from libc.stdint cimport int64_t, uint32_t, uint64_t
from memtwin.hostmem cimport load8, load32, load64, release, reserve, store8, store32, store64
from memtwin.kernel.flags cimport NO_FRAME
from memtwin.kernel.policies.policy cimport ON_LIST, Pages, Policy

cdef class Optimal(Policy):
    cdef readonly uint64_t uses_at, heap_at
    cdef readonly int64_t count

    cpdef void insert(self, uint64_t page, int kind) noexcept
    cpdef void remove(self, uint64_t page) noexcept
    cpdef void touched(self, uint64_t page) noexcept
    cpdef uint32_t victim(self, int kinds) noexcept
    cpdef void keep(self, uint64_t page) noexcept
    cdef uint64_t use(self, int64_t place) noexcept
    cdef void put(self, int64_t place, uint64_t page) noexcept
    cdef void settle(self, int64_t place) noexcept
    cdef uint32_t farthest_of(self, int kinds) noexcept
