# SPDX-License-Identifier: LGPL-2.1-or-later
from libc.stdint cimport int64_t, uint64_t
from memtwin.libc.bins cimport *
from memtwin.libc.heap cimport heap_trim
from memtwin.libc.state cimport *
from memtwin.libc.tcache cimport tcache_has_room, tcache_holds, tcache_index, tcache_put

cdef bint systrim(State s, uint64_t av, uint64_t pad) noexcept
cdef void munmap_chunk(State s, uint64_t p) noexcept
cdef void int_free(State s, uint64_t av, uint64_t p) noexcept
cdef void free_to_fastbin(State s, uint64_t av, uint64_t p, uint64_t size) noexcept
cdef void free_and_merge(State s, uint64_t av, uint64_t p, uint64_t size) noexcept
cdef bint freeable(State s, uint64_t av, uint64_t p, uint64_t above) noexcept
cdef void free_mapped(State s, uint64_t p) noexcept
cdef void free_to_arena(State s, uint64_t av, uint64_t p, uint64_t size) noexcept
cdef void free_rest(State s, uint64_t av, uint64_t p) noexcept
cdef uint64_t create_free_chunk(State s, uint64_t av, uint64_t p, uint64_t size, uint64_t above,
                                uint64_t above_size) noexcept
cdef void trim_after_free(State s, uint64_t av, uint64_t size) noexcept
cdef void perturb_free(State s, uint64_t p, uint64_t size) noexcept
