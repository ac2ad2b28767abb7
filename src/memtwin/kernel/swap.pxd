# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from memtwin.hostmem cimport (copy, discard, load8, load16, load32, load64, release, reserve, store8, store16, store32,
                              store64)
from memtwin.kernel.flags cimport *
from memtwin.kernel.frames cimport Frames

@cython.final
cdef class Swap:
    cdef readonly Frames frames
    cdef readonly int page_shift
    cdef readonly uint64_t total, used, fresh, storage, tables_at
    cdef readonly uint64_t index_at, count_at, owner_at, cache_at, next_at, bytes_at
    cdef readonly uint32_t spare
    cdef readonly uint64_t pages_in, pages_out
    cdef readonly dict slots

    cdef uint64_t alloc(self) noexcept
    cdef void free_slot(self, uint64_t slot) noexcept
    cdef void hold(self, uint64_t slot, int64_t count) noexcept
    cdef void drop(self, uint64_t slot) noexcept
    cdef void put(self, uint64_t slot, uint64_t pfn) noexcept
    cpdef uint32_t references(self, uint64_t slot) noexcept
    cpdef uint32_t cached(self, uint64_t slot) noexcept
    cdef void cache(self, uint64_t slot, uint64_t pfn) noexcept
    cdef bint uncache(self, uint64_t pfn) noexcept
    cdef void forget(self, uint64_t pfn) noexcept
    cdef uint64_t slot_of(self, uint64_t pfn) noexcept
    cdef bint full(self) noexcept
