# SPDX-License-Identifier: LGPL-2.1-or-later
from libc.stdint cimport int64_t, uint64_t
from memtwin.libc.state cimport *

cdef inline uint64_t chunk_size(State s, uint64_t p) noexcept:
    return get(s, p + s.word) & ~<uint64_t>SIZE_BITS

cdef inline uint64_t bin_at(State s, uint64_t av, uint64_t index) noexcept:
    return av + s.bins_base + s.header * index

cdef inline bint have_fastchunks(State s, uint64_t av) noexcept:
    return not s.no_fastbins and get32(s, av + AV_HAVE_FASTCHUNKS) != 0

cdef inline bint contiguous(State s, uint64_t av) noexcept:
    return not get32(s, av + AV_FLAGS) & NONCONTIGUOUS

cdef inline void set_bit(State s, uint64_t at, uint64_t bit) noexcept:
    put(s, at, get(s, at) | bit)

cdef inline uint64_t request_size(State s, uint64_t request) noexcept:
    if request > s.ptrdiff_max:
        return 0
    if request + s.word + ALIGN_MASK < s.minsize:
        return s.minsize
    return (request + s.word + ALIGN_MASK) & ~<uint64_t>ALIGN_MASK

cdef inline bint misaligned(State s, uint64_t p) noexcept:
    return (p + s.header) & ALIGN_MASK != 0

cdef inline uint64_t small_index(State s, uint64_t size) noexcept:
    return (size >> 4) + s.small_correction

cdef inline uint64_t fast_bin(State s, uint64_t av, uint64_t size) noexcept:
    return av + s.av_fastbins + s.word * ((size >> s.fast_shift) - 2)

cdef uint64_t large_index(State s, uint64_t size) noexcept
cdef uint64_t bin_index(State s, uint64_t size) noexcept
cdef void init_arena(State s, uint64_t av) noexcept
cdef void mark_in_use(State s, uint64_t av, uint64_t p, uint64_t size) noexcept
cdef void unlink_chunk(State s, uint64_t av, uint64_t p) noexcept
cdef bint put_unsorted(State s, uint64_t av, uint64_t p, uint64_t size, object message) noexcept
cdef bint put_small(State s, uint64_t av, uint64_t p, uint64_t size) noexcept
cdef void mark_bin(State s, uint64_t av, uint64_t index) noexcept
cdef void put_large(State s, uint64_t av, uint64_t p, uint64_t size) noexcept
cdef uint64_t place_by_size(State s, uint64_t p, uint64_t head, uint64_t forward) noexcept
cdef void link_between(State s, uint64_t p, uint64_t back, uint64_t forward) noexcept
cdef void consolidate(State s, uint64_t av) noexcept
cdef uint64_t consolidate_one(State s, uint64_t av, uint64_t p, uint64_t fb) noexcept
