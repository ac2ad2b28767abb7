# SPDX-License-Identifier: LGPL-2.1-or-later
from libc.stdint cimport uint8_t, uint64_t
from memtwin.hostmem cimport load8, store8
from memtwin.libc.bins cimport bin_at, bin_index, chunk_size, contiguous, fast_bin, misaligned
from memtwin.libc.malloc cimport Malloc
from memtwin.libc.state cimport *
from memtwin.libc.tcache cimport any_tcache_index

cdef class Piece:
    cdef readonly uint64_t start, end, in_use, free
    cdef readonly object rooms

cdef class HeapCheck:
    cdef Malloc s
    cdef list pieces
    cdef Piece last
    cdef readonly object problem
    cdef readonly uint64_t chunks, free_chunks, free_listed, cached, bytes

    cdef void broken(self, uint64_t address, object what)
    cdef void check_arena(self, uint64_t av)
    cdef void check_main_pieces(self, uint64_t av)
    cdef void check_heaps(self, uint64_t av)
    cdef uint64_t walk(self, uint64_t av, uint64_t start, uint64_t end, uint64_t top)
    cdef bint check_chunk(self, uint64_t av, uint64_t p, uint64_t word, uint64_t following, uint64_t next_word) noexcept
    cdef void check_top(self, uint64_t av, uint64_t end)
    cdef void check_bins(self, uint64_t av)
    cdef uint64_t check_list(self, uint64_t av, uint64_t index) noexcept
    cdef bint check_sorted(self, uint64_t av, uint64_t index) noexcept
    cdef bint take(self, uint64_t p, bint free) noexcept
    cdef void check_fastbins(self, uint64_t av)
    cdef void check_tcache(self, uint64_t cache)
    cdef bint mapped_in_cache(self, uint64_t e) noexcept
    cdef Piece piece_of(self, uint64_t p)

cdef uint64_t fence_of(Malloc s, uint64_t start) noexcept
cdef list caches(Malloc s)
cdef uint64_t users_of(Malloc s, uint64_t av)
