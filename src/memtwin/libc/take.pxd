# SPDX-License-Identifier: LGPL-2.1-or-later
from libc.stdint cimport int64_t, uint64_t
from memtwin.libc.bins cimport *
from memtwin.libc.give cimport free_rest
from memtwin.libc.more cimport cut_top, sysmalloc
from memtwin.libc.state cimport *
from memtwin.libc.tcache cimport new_tcache, tcache_get, tcache_has_room, tcache_index, tcache_put

cdef enum:
    MAX_ITERS = 10000

cdef uint64_t int_malloc(State s, uint64_t av, uint64_t request) noexcept
cdef uint64_t find_chunk(State s, uint64_t av, uint64_t nb) noexcept
cdef uint64_t take_fast(State s, uint64_t av, uint64_t nb) noexcept
cdef bint put_next_fast(State s, uint64_t fb, uint64_t p) noexcept
cdef uint64_t take_small(State s, uint64_t av, uint64_t nb) noexcept
cdef uint64_t sort_unsorted(State s, uint64_t av, uint64_t nb) noexcept
cdef bint unsorted_is_sane(State s, uint64_t av, uint64_t p, uint64_t size, uint64_t back) noexcept
cdef uint64_t split_last_remainder(State s, uint64_t av, uint64_t p, uint64_t size, uint64_t nb) noexcept
cdef uint64_t take_best_large(State s, uint64_t av, uint64_t nb) noexcept
cdef uint64_t take_larger_bin(State s, uint64_t av, uint64_t nb) noexcept
cdef uint64_t take_and_split(State s, uint64_t av, uint64_t p, uint64_t size, uint64_t nb, bint advertise,
                             object message) noexcept
cdef uint64_t int_realloc(State s, uint64_t av, uint64_t p, uint64_t old_size, uint64_t nb) noexcept
cdef uint64_t grow_by_moving(State s, uint64_t av, uint64_t p, uint64_t old_size, uint64_t nb) noexcept
cdef uint64_t fit(State s, uint64_t av, uint64_t p, uint64_t size, uint64_t nb) noexcept
cdef void begin_tcache(State s, uint64_t av) noexcept
cdef void set_head_size(State s, uint64_t p, uint64_t size) noexcept
cdef void perturb_new(State s, uint64_t mem, uint64_t request) noexcept
