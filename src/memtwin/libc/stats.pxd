# SPDX-License-Identifier: LGPL-2.1-or-later
from libc.stdint cimport uint64_t
from memtwin.libc.bins cimport bin_at, chunk_size, misaligned
from memtwin.libc.malloc cimport Malloc
from memtwin.libc.state cimport *

cdef class Tally:
    cdef readonly uint64_t count, bytes, words, smallest, largest

    cdef void add(self, uint64_t word) noexcept

cdef Tally tally_fastbin(State s, uint64_t av, uint64_t index, object caller)
cdef Tally tally_bin(State s, uint64_t av, uint64_t index)
