# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint64_t
from memtwin.hostmem cimport load64
from memtwin.kernel.addrspace cimport AddressSpace
from memtwin.memory cimport load_u64

cdef enum:
    LIVE, OVERHEAD, TCACHE, FAST, FREE, TOP, MAPPED, ROUNDING, KINDS

@cython.final
cdef class HeapWalk:
    cdef AddressSpace space
    cdef object keep
    cdef int64_t present[8]
    cdef int64_t absent[8]
    cdef readonly uint64_t live_blocks, live_requested, trimmable, chunks
    cdef readonly uint64_t last_live, last_live_size
    cdef readonly uint64_t damaged
    cdef uint64_t marks, marks_left
    cdef uint64_t page
    cdef int page_present

    cpdef uint64_t walk(self, uint64_t start, uint64_t stop, uint64_t top)
    cdef void in_use(self, uint64_t chunk, uint64_t size) noexcept
    cdef void free_chunk(self, uint64_t chunk, uint64_t size) noexcept
    cdef void live_block(self, int kind, uint64_t memory, uint64_t usable) noexcept
    cdef uint64_t requested(self, uint64_t memory, uint64_t usable) noexcept
    cdef int marked(self, uint64_t memory) noexcept
    cpdef void add(self, int kind, uint64_t start, uint64_t end) noexcept
    cdef bint resident(self, uint64_t address) noexcept
