# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from memtwin.hostmem cimport load8, load32, load64, prefetch, store64
from memtwin.kernel.addrspace cimport AddressSpace
from memtwin.kernel.flags cimport TOUCHED
from memtwin.libc.malloc cimport Malloc
from memtwin.libc.quick cimport quick_bins, quick_free, quick_malloc
from memtwin.memory cimport READ, WRITE, load_u64, store_u64
from memtwin.replay.addressmap cimport AddressMap
from memtwin.replay.timeline cimport TimeLine

cdef enum:
    OP_MALLOC = 1
    OP_CALLOC = 2
    OP_REALLOC = 3
    OP_FREE = 4
    OP_MEMALIGN = 5
    OP_POSIX_MEMALIGN = 6
    OP_ALIGNED_ALLOC = 7
    OP_VALLOC = 8
    OP_PVALLOC = 9
    OP_REALLOCARRAY = 10
    NOTHING = 1
    AHEAD = 12
    CHUNK_HEADER = 16

@cython.final
cdef class Player:
    cdef readonly Malloc malloc
    cdef readonly AddressSpace space
    cdef readonly AddressMap moved
    cdef readonly TimeLine line
    cdef public bint strict
    cdef public bint what_if
    cdef public int64_t other_bytes
    cdef readonly int64_t live_bytes
    cdef readonly uint64_t compared
    cdef readonly uint64_t equal
    cdef readonly uint64_t unknown
    cdef readonly bint differs
    cdef readonly uint64_t mismatch_event
    cdef readonly uint64_t mismatch_recorded
    cdef readonly uint64_t mismatch_twin
    cdef uint64_t window, permissions, mask
    cdef int page_shift
    cdef object columns
    cdef uint64_t first, rows
    cdef uint64_t op, thread, size, pointer, argument, result
    cdef readonly uint32_t tid
    cdef int64_t pages
    cdef bint pause
    cdef object measured
    cdef uint64_t next_measured, measured_end

    @cython.locals(malloc=Malloc, space=AddressSpace, line=TimeLine)
    cpdef uint64_t play(self, uint64_t start, uint64_t stop)
    cdef void play_malloc(self, uint64_t i, uint64_t size) noexcept
    cdef inline void limit_call(self, uint64_t i, uint64_t size) noexcept
    cdef inline void limit_ends(self) noexcept
    cdef uint64_t written(self, uint64_t i, uint64_t size, uint64_t otherwise) noexcept
    cdef uint64_t span_end(self) noexcept
    cdef inline bint settle_quick(self, uint64_t i, uint64_t got, uint64_t size) noexcept
    cdef void play_free(self, uint64_t address) noexcept
    cdef void play_calloc(self, uint64_t i) noexcept
    cdef void play_realloc(self, uint64_t i, uint64_t size) noexcept
    cdef bint play_other(self, uint64_t i, uint8_t op) noexcept
    cdef void play_aligned(self, uint64_t i, uint8_t op) noexcept
    cdef void settle(self, uint64_t i, uint64_t got, uint64_t size) noexcept
    cdef void settle_realloc(self, uint64_t i, uint64_t old, uint64_t got, uint64_t had, uint64_t size) noexcept
    cdef void bind_result(self, uint64_t i, uint64_t got) noexcept
    cdef void compare(self, uint64_t i, uint64_t got) noexcept
    cdef void bind(self, uint64_t recorded, uint64_t got) noexcept
    cdef uint64_t take(self, uint64_t recorded) noexcept
    cdef void fill(self, uint64_t address, uint64_t size) noexcept
    cdef uint64_t note_size(self, uint64_t address, uint64_t size) noexcept
    cdef uint64_t requested(self, uint64_t address) noexcept
    @cython.locals(rss=int64_t)
    cdef void note_rss(self, uint64_t event) noexcept
