# SPDX-License-Identifier: LGPL-2.1-or-later
from libc.stdint cimport int64_t, uint64_t
from memtwin.libc.bins cimport *
from memtwin.libc.state cimport *

cdef uint64_t new_heap(State s, uint64_t size, uint64_t top_pad) noexcept
cdef uint64_t make_heap(State s, uint64_t size, uint64_t top_pad, uint64_t unit, int64_t flags) noexcept
cdef uint64_t reserve_heap(State s, int64_t extra) noexcept
cdef uint64_t heap_unit(State s, uint64_t heap) noexcept
cdef void advise_huge(State s, uint64_t start, uint64_t size) noexcept
cdef bint grow_heap(State s, uint64_t heap, uint64_t more) noexcept
cdef bint shrink_heap(State s, uint64_t heap, uint64_t less) noexcept
cdef bint heap_trim(State s, uint64_t heap, uint64_t pad) noexcept
cdef uint64_t drop_heaps(State s, uint64_t heap, uint64_t pad) noexcept
