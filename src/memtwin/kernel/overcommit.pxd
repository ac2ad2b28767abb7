# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint64_t
from memtwin.kernel.frames cimport Frames
from memtwin.kernel.swap cimport Swap

@cython.final
cdef class Overcommit:
    cdef readonly Frames frames
    cdef readonly Swap swap
    cdef public int mode
    cdef public int64_t ratio, kbytes, user_reserve_kbytes, admin_reserve_kbytes

    cpdef int64_t limit(self) noexcept
    cpdef bint allows(self, int64_t pages, int64_t total_vm, bint admin) noexcept
