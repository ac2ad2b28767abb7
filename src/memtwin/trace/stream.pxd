# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport uint64_t
from memtwin.hostmem cimport copy, fill, load8, load64

cdef extern from *:
    """
    #define MASK64 0xFFFFFFFFFFFFFFFFULL
    """
    const uint64_t MASK64

cdef enum:
    OP_BITS = 0x3f
    SKIP = 48
    ERROR = 49
    LOW_BITS = 50
    TEXT = 51
    OUTCOME = 52
    SAMPLE = 53
    NOTE = 54
    BLOCK = 55
    REALLOC_NULL = 60
    LONGEST_RECORD = 128
    TAIL_BYTES = 512

@cython.final
cdef class Stream:
    cdef uint64_t at
    cdef uint64_t end
    cdef uint64_t safe_end
    cdef readonly uint64_t number
    cdef uint64_t last
    cdef uint64_t skip
    cdef uint64_t pointer
    cdef uint64_t low_bits
    cdef uint64_t error
    cdef uint64_t thread
    cdef uint64_t tail
    cdef int chunk
    cdef object chunks
    cdef object tail_bytes
    cdef object found
    cdef object text
    cdef uint64_t text_bytes
    cdef bint has_outcome
    cdef uint64_t outcome

    @cython.locals(op=int)
    cdef bint advance(self) except -1
    @cython.locals(left=uint64_t)
    cdef bint more(self) except -1
    cdef bint next_chunk(self) except -1
    cdef bint change_thread(self, uint64_t thread) except -1
    cdef bint give_up(self) except -1
    @cython.locals(kind=uint64_t, value=uint64_t)
    cdef int side_record(self, int op) except -1
    @cython.locals(length=uint64_t)
    cdef bint take_text(self) except -1
    cdef int take_sample(self) except -1
    cdef int take_block(self) except -1
    cdef list take_texts(self)
    @cython.locals(value=uint64_t, shift=int, byte=uint64_t)
    cdef uint64_t long_varint(self) noexcept

cdef inline uint64_t varint(Stream s) noexcept:
    cdef uint64_t word = load64(s.at)
    if not word & 0x80:
        s.at += 1
        return word & 0x7F
    if not word & 0x8000:
        s.at += 2
        return word & 0x7F | word >> 1 & 0x3F80
    if not word & 0x800000:
        s.at += 3
        return word & 0x7F | word >> 1 & 0x3F80 | word >> 2 & 0x1FC000
    return s.long_varint()

cdef inline uint64_t signed_varint(Stream s) noexcept:
    cdef uint64_t value = varint(s)
    return (value >> 1) ^ -(value & 1)

cdef inline uint64_t pointer_varint(Stream s) noexcept:
    s.pointer += signed_varint(s)
    return s.pointer << 4
