# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint16_t, uint64_t
from memtwin.hostmem cimport store8, store16
from memtwin.kernel.files cimport Inode
from memtwin.kernel.flags cimport *
from memtwin.kernel.frames cimport Frames

@cython.final
cdef class HugePool:
    cdef readonly Frames frames
    cdef readonly uint64_t size
    cdef readonly int shift, order
    cdef readonly int64_t total
    cdef public int64_t reserved
    cdef readonly list free
    cdef readonly set restoring

    cpdef bint reserve(self, int64_t pages)
    cpdef uint64_t take(self, bint promised)
    cpdef void give(self, uint64_t pfn)

@cython.final
cdef class Promise:
    cdef readonly HugePool pool
    cdef readonly set used

cdef class HugeInode(Inode):
    cdef readonly HugePool pool
    cdef readonly set promises

    cpdef void release(self)
