# SPDX-License-Identifier: LGPL-2.1-or-later
from libc.stdint cimport uint64_t
from memtwin.kernel.policies.fifo cimport Fifo
from memtwin.kernel.policies.policy cimport PageList, Pages, Policy

cdef class Lru(Fifo):
    cpdef void touched(self, uint64_t page) noexcept
    cpdef void retire(self, uint64_t page) noexcept
