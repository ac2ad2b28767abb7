# SPDX-License-Identifier: LGPL-2.1-or-later
from libc.stdint cimport int64_t, uint32_t, uint64_t
from memtwin.hostmem cimport load8, load32, release, reserve, store8, store32
from memtwin.kernel.flags cimport NO_FRAME
from memtwin.kernel.policies.policy cimport ON_LIST, Pages, Policy

cdef class Random(Policy):
    cdef readonly uint64_t state, places_at
    cdef readonly int64_t count

    cpdef void insert(self, uint64_t page, int kind) noexcept
    cpdef void remove(self, uint64_t page) noexcept
    cpdef uint32_t victim(self, int kinds) noexcept
    cdef uint64_t draw(self, uint64_t below) noexcept
