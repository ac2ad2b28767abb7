# SPDX-License-Identifier: LGPL-2.1-or-later
from libc.stdint cimport uint64_t
from memtwin.libc.bins cimport chunk_size
from memtwin.libc.state cimport *

cdef uint64_t tcache_index(uint64_t size) noexcept
cdef uint64_t large_tcache_index(uint64_t size) noexcept
cdef uint64_t any_tcache_index(uint64_t size) noexcept
cdef bint tcache_has_room(State s, uint64_t index) noexcept
cdef bint tcache_has_place(State s, uint64_t index) noexcept
cdef void tcache_put(State s, uint64_t p, uint64_t index) noexcept
cdef void tcache_put_large(State s, uint64_t p, uint64_t index) noexcept
cdef uint64_t tcache_get(State s, uint64_t index) noexcept
cdef uint64_t tcache_get_large(State s, uint64_t index, uint64_t nb) noexcept
cdef uint64_t tcache_get_aligned(State s, uint64_t index, uint64_t nb, uint64_t alignment) noexcept
cdef void count_one(State s, uint64_t index, uint64_t change) noexcept
cdef uint64_t link_at(State s, uint64_t place, bint mangled) noexcept
cdef void set_link(State s, uint64_t place, bint mangled, uint64_t e) noexcept
cdef uint64_t take_linked(State s, uint64_t index, uint64_t place, bint mangled, uint64_t e) noexcept
cdef bint tcache_holds(State s, uint64_t mem, uint64_t index) noexcept
cdef void new_tcache(State s, uint64_t mem) noexcept
