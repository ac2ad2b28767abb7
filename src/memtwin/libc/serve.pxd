# SPDX-License-Identifier: LGPL-2.1-or-later
from libc.stdint cimport int64_t, uint64_t
from memtwin.libc.aligned cimport int_memalign
from memtwin.libc.arena cimport arena_get, arena_get_retry, arena_of
from memtwin.libc.bins cimport *
from memtwin.libc.give cimport free_mapped, free_to_arena, int_free
from memtwin.libc.state cimport *
from memtwin.libc.take cimport int_malloc
from memtwin.libc.tcache cimport *

cdef uint64_t from_arena(State s, uint64_t request) noexcept
cdef void init_tcache(State s) noexcept
cdef uint64_t malloc_by_size(State s, uint64_t request) noexcept
cdef uint64_t cached_by_size(State s, uint64_t nb) noexcept
cdef void free_chunk(State s, uint64_t p) noexcept
cdef void free_by_size(State s, uint64_t p) noexcept
cdef bint cache_by_size(State s, uint64_t p, uint64_t size) noexcept
cdef void free_after_search(State s, uint64_t p) noexcept
cdef uint64_t calloc_from_arena(State s, uint64_t request) noexcept
cdef uint64_t calloc_cached(State s, uint64_t request, uint64_t nb) noexcept
cdef void clear_new(State s, uint64_t mem, uint64_t request, uint64_t top, uint64_t top_size) noexcept
cdef uint64_t aligned_block(State s, uint64_t alignment, uint64_t request) noexcept
cdef uint64_t aligned_cached(State s, uint64_t alignment, uint64_t nb) noexcept
cdef void flush_tcache(State s) noexcept
cdef void flush_one(State s, uint64_t p) noexcept
