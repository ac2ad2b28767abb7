# SPDX-License-Identifier: LGPL-2.1-or-later
from libc.stdint cimport int64_t, uint64_t
from memtwin.libc.bins cimport init_arena
from memtwin.libc.heap cimport new_heap
from memtwin.libc.state cimport *

cdef uint64_t arena_of(State s, uint64_t p) noexcept
cdef uint64_t arena_get(State s, uint64_t size) noexcept
cdef uint64_t arena_get2(State s, uint64_t size) noexcept
cdef uint64_t arena_get_retry(State s, uint64_t av, uint64_t size) noexcept
cdef void detach_arena(State s, uint64_t av) noexcept
cdef uint64_t new_arena(State s, uint64_t size) noexcept
cdef uint64_t take_free_arena(State s) noexcept
cdef void remove_from_free_list(State s, uint64_t av) noexcept
cdef uint64_t reused_arena(State s) noexcept
cdef void release_arena(State s) noexcept
cdef void arenas_after_fork(State s) noexcept
