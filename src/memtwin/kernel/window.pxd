# SPDX-License-Identifier: LGPL-2.1-or-later
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from memtwin.hostmem cimport copy, discard, fill, load8, load32, load64, release, reserve, store8, store32
from memtwin.kernel.flags cimport *
from memtwin.memory cimport READ, WRITE, Memory

cdef extern from *:
    """
    #define BYTES_WORD 0x0808080808080808ULL
    #define ALL_ONES 0xFFFFFFFFFFFFFFFFULL
    """
    const uint64_t BYTES_WORD, ALL_ONES

cdef enum:
    DISCARD_PAGES = 32
    CHUNKS_SHIFT = 8
    CONFLICT = 0xFFFFFFF

cdef class Window(Memory):
    cdef uint64_t folds
    cdef int chunk_shift

    cdef uint64_t slot(self, uint64_t address) noexcept
    cdef bint owned(self, uint64_t address) noexcept
    cdef bint owns(self, uint64_t address) noexcept
    cdef bint settle(self, uint64_t at, uint64_t address) noexcept
    cdef void unfold(self, uint64_t start) noexcept
    cdef bint get(self, uint64_t host, uint64_t address, uint64_t length) noexcept
    cdef bint put(self, uint64_t address, uint64_t host, uint64_t length) noexcept
    cdef bint transfer(self, uint64_t address, uint64_t host, uint64_t length, int access) noexcept
    cdef void wipe_window(self, uint64_t start, uint64_t end) noexcept
    cdef void revoke(self, uint64_t start, uint64_t end, uint8_t bits) noexcept
