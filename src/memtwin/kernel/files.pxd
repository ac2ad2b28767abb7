# SPDX-License-Identifier: LGPL-2.1-or-later
from libc.stdint cimport int64_t, uint32_t, uint64_t
from memtwin.hostmem cimport store16, store32, store64
from memtwin.kernel.flags cimport *
from memtwin.kernel.frames cimport Frames, born
from memtwin.kernel.group cimport Group
from memtwin.kernel.policies.policy cimport ANON, FILE

cdef class Inode:
    cdef readonly Frames frames
    cdef readonly uint32_t number
    cdef readonly uint64_t size
    cdef readonly bint in_memory, warm
    cdef readonly object content
    cdef readonly str identity
    cdef readonly dict pages, vmas
    cdef public int64_t opened, promised
    cdef readonly dict swapped, written
    cdef readonly set evicted

    cdef uint64_t limit(self) noexcept
    cdef int64_t find(self, uint64_t index)
    cdef int64_t bring(self, uint64_t index, Group group)
    cdef void forget(self, object vma)
    cpdef void release(self)

cdef class File:
    cdef readonly Inode inode
    cdef readonly str path
    cdef readonly str identity
    cdef readonly int kind
    cdef readonly bint readable, writable, noexec

cpdef File shared_memory(object machine, uint64_t size, bint promised=*)
cdef bint aligned_to_huge(object file, bint shared)
