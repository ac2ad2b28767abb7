# SPDX-License-Identifier: LGPL-2.1-or-later
from libc.stdint cimport uint32_t, uint64_t
from memtwin.hostmem cimport load8, load32, store8
from memtwin.kernel.flags cimport NO_FRAME
from memtwin.kernel.policies.policy cimport ON_LIST, PageList, Pages, Policy

cdef class Fifo(Policy):
    cdef readonly PageList queue

    cpdef void insert(self, uint64_t page, int kind) noexcept
    cpdef void remove(self, uint64_t page) noexcept
    cpdef uint32_t victim(self, int kinds) noexcept
    cpdef void keep(self, uint64_t page) noexcept
    cdef uint32_t last_of(self, int kinds) noexcept
