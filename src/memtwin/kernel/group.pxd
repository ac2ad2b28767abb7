# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint64_t
from memtwin.kernel.policies.policy cimport Policy

@cython.final
cdef class Group:
    cdef readonly int number
    cdef readonly str name
    cdef public int64_t limit
    cdef readonly int64_t usage, peak, tables
    cdef public int64_t failures, kills
    cdef readonly Policy policy

    cdef void charge(self, int64_t pages) noexcept
    cdef void charge_table(self, int64_t tables) noexcept
