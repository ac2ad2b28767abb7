# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t
from memtwin.hostmem cimport load8, store8
from memtwin.kernel.flags cimport NO_FRAME
from memtwin.kernel.policies.policy cimport ACTIVE, ANON, EXECUTABLE, FILE, KINDS, ON_LIST, REFERENCED, PageList, Pages, Policy

cdef enum:
    BATCH = 32
    FIRST_PRIORITY = 12
    LISTS = 4

cdef class TwoList(Policy):
    cdef readonly PageList inactive_anon, active_anon, inactive_file, active_file
    cdef int64_t quota[4]
    cdef readonly int priority, turn
    cdef readonly int64_t batch
    cdef readonly int64_t anon_cost, file_cost, swappiness
    cdef readonly bint found

    cpdef void begin(self, int kinds) noexcept
    cpdef void insert(self, uint64_t page, int kind) noexcept
    cpdef void remove(self, uint64_t page) noexcept
    cpdef uint32_t victim(self, int kinds) noexcept
    cpdef void keep(self, uint64_t page) noexcept
    cpdef void retire(self, uint64_t page) noexcept
    cdef PageList list_of(self, int which)
    cdef PageList home_of(self, uint64_t page)
    @cython.locals(longest=int64_t)
    cdef bint plan(self, int kinds) noexcept
    cdef void share(self, int kinds) noexcept
    cdef bint inactive_is_low(self, int which) noexcept
    cdef void deactivate(self, int which, int64_t count) noexcept
    cdef bint passes(self, uint64_t page) noexcept
    cdef void note_cost(self, int kind, int64_t cost) noexcept
