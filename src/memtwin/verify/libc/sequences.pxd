# SPDX-License-Identifier: LGPL-2.1-or-later
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from memtwin.verify.libc.codes cimport *

cdef extern from *:
    """
    #define ONE 1ULL
    #define ALL_BITS 0xffffffffffffffffULL
    #define GOLDEN 0x9e3779b97f4a7c15ULL
    #define MIX_A 0xbf58476d1ce4e5b9ULL
    #define MIX_B 0x94d049bb133111ebULL
    """
    const uint64_t ONE
    const uint64_t ALL_BITS
    const uint64_t GOLDEN
    const uint64_t MIX_A
    const uint64_t MIX_B

cdef class Generator:
    cdef uint64_t state
    cdef uint64_t[:, ::1] rows
    cdef int64_t[:, ::1] sizes
    cdef int64_t[:, ::1] empty
    cdef int64_t[:, ::1] full
    cdef int64_t[::1] rare
    cdef int64_t[:, ::1] knobs
    cdef uint64_t[::1] length
    cdef uint64_t[::1] saved
    cdef uint8_t[::1] alive
    cdef int64_t slots
    cdef int64_t threads
    cdef int64_t longest_write
    cdef int64_t word_bits
    cdef int64_t at
    cdef int64_t end
    cdef int64_t thread
    cdef int64_t living
    cdef int64_t mood
    cdef int64_t mood_ends
    cdef int64_t sweep
    cdef int64_t child_ends
    cdef int64_t rare_total

    cdef uint64_t draw(self, uint64_t below) noexcept
    cdef void put(self, int64_t op, int64_t byte, int64_t slot, uint64_t size, uint64_t argument) noexcept
    cdef int64_t weighted(self, int64_t[:, ::1] table) noexcept
    cdef uint64_t size(self) noexcept
    cdef int64_t pick_slot(self) noexcept
    cdef void fill(self, int64_t slot) noexcept
    cdef void use(self, int64_t slot) noexcept
    cdef bint seldom(self) noexcept
    cdef void limit(self) noexcept
    cdef void refused(self) noexcept
    cdef void map(self) noexcept
    cdef void sbrk(self) noexcept
    cdef void begin_fork(self) noexcept
    cdef bint switch_thread(self) noexcept
    cdef bint start_thread(self) noexcept
    cdef bint exit_thread(self) noexcept
    cdef void change_mood(self) noexcept
    cdef void step(self) noexcept
