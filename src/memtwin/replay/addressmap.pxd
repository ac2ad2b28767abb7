# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport uint64_t
from memtwin.hostmem cimport load64, release, reserve, store64

cdef extern from *:
    """
    #define GOLDEN 0x9E3779B97F4A7C15ULL /* 2**64 / golden ratio: Fibonacci hashing */
    #define WORD 0xFFFFFFFFFFFFFFFFULL
    """
    const uint64_t GOLDEN
    const uint64_t WORD

@cython.final
cdef class AddressMap:
    cdef uint64_t table
    cdef uint64_t capacity
    cdef readonly uint64_t count
    cdef int shift

    cdef uint64_t home(self, uint64_t key) noexcept
    @cython.locals(at=uint64_t, host=uint64_t, found=uint64_t)
    cdef uint64_t slot(self, uint64_t key) noexcept
    @cython.locals(host=uint64_t)
    cdef uint64_t get(self, uint64_t key) noexcept
    @cython.locals(host=uint64_t)
    cdef bint put(self, uint64_t key, uint64_t value) noexcept
    @cython.locals(host=uint64_t, value=uint64_t)
    cdef uint64_t pop(self, uint64_t key) noexcept
    @cython.locals(at=uint64_t, last=uint64_t, host=uint64_t, key=uint64_t)
    cdef void close_gap(self, uint64_t gap) noexcept
    @cython.locals(old=uint64_t, length=uint64_t, table=uint64_t, at=uint64_t, key=uint64_t, host=uint64_t)
    cdef bint grow(self) noexcept
