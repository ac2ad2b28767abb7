# SPDX-License-Identifier: LGPL-2.1-or-later
from libc.stdint cimport uint64_t
from memtwin.libc.state cimport *

cdef uint64_t tcache_index(uint64_t size) noexcept
cdef bint tcache_has_room(State s, uint64_t index) noexcept
cdef void tcache_put(State s, uint64_t p, uint64_t index) noexcept
cdef uint64_t tcache_get(State s, uint64_t index) noexcept
cdef bint tcache_holds(State s, uint64_t mem, uint64_t index) noexcept
