# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from memtwin.hostmem cimport (discard, fill, load8, load16, load32, load64, release, reserve, store8, store16, store32,
                              store64)
from memtwin.kernel.flags cimport *
from memtwin.kernel.group cimport Group

cdef enum:
    MAX_ORDER = 10

@cython.final
cdef class Frames:
    cdef readonly uint64_t total, free, fresh, run
    cdef readonly int page_shift
    cdef readonly uint64_t storage
    cdef public uint64_t low, minimum, high
    cdef public int64_t committed, pooled
    cdef public bint listing, watch
    cdef public uint32_t clock
    cdef readonly list groups
    cdef public Group root
    cdef public object swap_area
    cdef readonly uint64_t group_at
    cdef readonly uint64_t mapped_at, flags_at, owner_at, index_at, home_at, next_at, previous_at, order_at, head_at, count_at
    cdef readonly dict owners
    cdef readonly dict folios
    cdef public bint observed
    cdef list spare_numbers
    cdef uint32_t next_number

    cpdef uint64_t alloc(self, int order) noexcept
    cdef uint64_t alloc_run(self, uint64_t wanted) noexcept
    cdef void split_rest(self, uint64_t pfn, uint64_t wanted, int order) noexcept
    cpdef void give(self, uint64_t pfn, int order) noexcept
    cdef void give_run(self, uint64_t pfn, uint64_t count) noexcept
    cdef void push(self, uint64_t pfn, int order) noexcept
    cdef void unlink(self, uint64_t pfn, int order) noexcept
    cdef bint refill(self) noexcept
    cpdef uint64_t alloc_aligned(self, int order) noexcept
    cpdef uint32_t mapped(self, uint64_t pfn) noexcept
    cpdef uint64_t home(self, uint64_t pfn) noexcept
    cdef uint64_t own_bytes(self, uint64_t pfn) noexcept
    cdef void set_flags(self, uint64_t pfn, uint16_t flags) noexcept
    cdef void drop_bytes(self, uint64_t pfn) noexcept
    cdef void enlist(self, Group group, uint64_t pfn, int kind) noexcept
    @cython.locals(group=Group)
    cdef void delist(self, uint64_t pfn) noexcept
    cdef void free_page(self, uint64_t pfn) noexcept
    @cython.locals(group=Group)
    cdef void touched(self, uint64_t pfn) noexcept
    cpdef uint32_t new_owner(self, object owner)
    cpdef void forget_owner(self, uint32_t number)

cdef inline void born(Frames frames, Group group, uint64_t pfn, int kind) noexcept:
    if frames.listing:
        frames.enlist(group, pfn, kind)
    else:
        store32(frames.next_at + 4 * pfn, frames.clock)
        frames.clock += 1
