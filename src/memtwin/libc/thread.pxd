# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint64_t

cdef enum:
    RECENT = 64

@cython.final
cdef class Thread:
    cdef readonly int64_t tid
    cdef readonly uint64_t tcache, arena
    cdef readonly bint no_tcache

@cython.final
cdef class Threads:
    cdef readonly dict by_tid
    cdef list recent

    @cython.locals(thread=Thread)
    cdef Thread find(self, int64_t tid)
    @cython.locals(thread=Thread)
    cdef Thread begin(self, int64_t tid)
    cpdef void end(self, int64_t tid)
