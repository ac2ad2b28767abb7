# SPDX-License-Identifier: LGPL-2.1-or-later
from libc.stdint cimport uint64_t
from memtwin.libc.state cimport *

cdef void set_hugetlb(State s, uint64_t value)
cpdef void begin_huge(State s, bint threshold_is_set) noexcept
