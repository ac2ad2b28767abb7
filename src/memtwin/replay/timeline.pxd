# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport uint64_t
from memtwin.hostmem cimport load64, release, reserve, store64

cdef enum:
    POINTS = 1024
    POINT_BYTES = 32

@cython.final
cdef class TimeLine:
    cdef uint64_t points
    cdef uint64_t width
    cdef uint64_t next
    cdef uint64_t at
    cdef readonly uint64_t events
    cdef readonly uint64_t peak
    cdef readonly uint64_t peak_event
    cdef readonly uint64_t taken_event
    cdef uint64_t high, high_event

    @cython.locals(point=uint64_t)
    cdef void note(self, uint64_t event, uint64_t rss, uint64_t live, uint64_t own) noexcept
    cdef void move_on(self, uint64_t event) noexcept
