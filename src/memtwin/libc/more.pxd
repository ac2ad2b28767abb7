# SPDX-License-Identifier: LGPL-2.1-or-later
from libc.stdint cimport int64_t, uint64_t
from memtwin.libc.bins cimport *
from memtwin.libc.give cimport free_rest
from memtwin.libc.heap cimport advise_huge, grow_heap, new_heap
from memtwin.libc.state cimport *

cdef uint64_t sysmalloc(State s, uint64_t nb, uint64_t av) noexcept
cdef bint top_is_whole(State s, uint64_t av) noexcept
cdef uint64_t mmap_chunk(State s, uint64_t nb, uint64_t unit, int64_t flags) noexcept
cdef void name_mapping(State s, uint64_t start, uint64_t size) noexcept
cdef uint64_t mremap_chunk(State s, uint64_t p, uint64_t nb) noexcept
cdef bint grow_thread_arena(State s, uint64_t av, uint64_t nb) noexcept
cdef void grow_main_arena(State s, uint64_t av, uint64_t nb) noexcept
cdef uint64_t map_instead(State s, uint64_t av, uint64_t nb, uint64_t size, uint64_t old_size) noexcept
cdef uint64_t fallback_size(State s, uint64_t av, uint64_t nb, uint64_t size, uint64_t old_size, uint64_t unit,
                            uint64_t least) noexcept
cdef void start_new_top(State s, uint64_t av, uint64_t brk, uint64_t end, uint64_t size, uint64_t old_top,
                        uint64_t old_size) noexcept
cdef uint64_t cut_top(State s, uint64_t av, uint64_t nb) noexcept
cdef void fence_old_top(State s, uint64_t av, uint64_t old_top, uint64_t old_size) noexcept
