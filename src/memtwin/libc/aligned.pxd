# SPDX-License-Identifier: LGPL-2.1-or-later
from libc.stdint cimport int64_t, uint64_t
from memtwin.libc.bins cimport *
from memtwin.libc.give cimport create_free_chunk, free_and_merge, int_free, trim_after_free
from memtwin.libc.state cimport *
from memtwin.libc.take cimport int_malloc, set_head_size

cdef uint64_t int_memalign(State s, uint64_t av, uint64_t alignment, uint64_t request) noexcept
cdef uint64_t align_mapped(State s, uint64_t p, uint64_t alignment) noexcept
cdef uint64_t cut_lead(State s, uint64_t av, uint64_t p, uint64_t alignment) noexcept
cdef void cut_tail(State s, uint64_t av, uint64_t p, uint64_t nb) noexcept
cdef uint64_t aligned_waste(State s, uint64_t p, uint64_t alignment, uint64_t nb) noexcept
cdef uint64_t scan_bins(State s, uint64_t av, uint64_t alignment, uint64_t nb) noexcept
cdef uint64_t scan_small(State s, uint64_t bin, uint64_t alignment, uint64_t nb) noexcept
cdef uint64_t scan_large(State s, uint64_t bin, uint64_t alignment, uint64_t nb) noexcept
