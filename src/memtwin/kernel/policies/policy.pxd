# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from memtwin.hostmem cimport load8, load32, release, reserve, store8, store32
from memtwin.kernel.flags cimport NO_FRAME

cdef enum:
    ANON = 1
    FILE = 2
    KINDS = 3
    REFERENCED = 4
    ACTIVE = 8
    ON_LIST = 0x10
    EXECUTABLE = 0x100

cdef class Pages:
    cdef readonly uint64_t count, links_at, next_at, previous_at, state_at
    cdef readonly uint64_t young_at

    cdef int young(self, uint64_t page) noexcept

@cython.final
cdef class PageList:
    cdef readonly Pages pages
    cdef readonly uint32_t first, last
    cdef readonly int64_t count

    cdef void add(self, uint64_t page) noexcept
    cdef void add_last(self, uint64_t page) noexcept
    cdef void remove(self, uint64_t page) noexcept
    cdef void rotate(self, uint64_t page) noexcept

cdef class Policy:
    cdef readonly Pages pages
    cdef readonly bint watches, foresees
    cdef public uint64_t upcoming
    cdef readonly int64_t scanned

    cpdef void begin(self, int kinds) noexcept
    cpdef void insert(self, uint64_t page, int kind) noexcept
    cpdef void remove(self, uint64_t page) noexcept
    cpdef void touched(self, uint64_t page) noexcept
    cpdef uint32_t victim(self, int kinds) noexcept
    cpdef void keep(self, uint64_t page) noexcept
    cpdef void retire(self, uint64_t page) noexcept
