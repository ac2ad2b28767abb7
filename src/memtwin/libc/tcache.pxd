# SPDX-License-Identifier: LGPL-2.1-or-later
from libc.stdint cimport uint16_t, uint64_t
from memtwin.libc.bins cimport chunk_size
from memtwin.libc.state cimport *

cdef inline uint64_t tcache_index(State s, uint64_t size) noexcept:
    return (size - s.minsize + ALIGN_MASK) // ALIGNMENT

cdef inline bint tcache_has_place(State s, uint64_t index) noexcept:
    cdef uint64_t count = get16(s, s.tcache + 2 * index)
    return count != 0 if s.tcache_counts_down else count < s.tcache_count

cdef inline bint tcache_has_room(State s, uint64_t index) noexcept:
    return s.tcache != 0 and index < s.tcache_bins and tcache_has_place(s, index)

cdef inline void count_one(State s, uint64_t index, uint64_t change) noexcept:
    cdef uint64_t at = s.tcache + 2 * index
    put16(s, at, <uint16_t>(get16(s, at) + change))

cdef inline void tcache_put(State s, uint64_t p, uint64_t index) noexcept:
    cdef uint64_t entry = s.tcache + s.tcache_entries + s.word * index
    cdef uint64_t e = p + s.header
    put(s, e + s.word, s.tcache_key)
    put(s, e, ((e >> 12) & s.link_mask) ^ get(s, entry))
    put(s, entry, e)
    count_one(s, index, s.tcache_one)

cdef inline uint64_t tcache_get(State s, uint64_t index) noexcept:
    cdef uint64_t entry = s.tcache + s.tcache_entries + s.word * index
    cdef uint64_t e = get(s, entry)
    if e & ALIGN_MASK and s.link_mask:
        s.die("malloc(): unaligned tcache chunk detected")
        return 0
    put(s, entry, ((e >> 12) & s.link_mask) ^ get(s, e))
    count_one(s, index, -s.tcache_one)
    put(s, e + s.word, 0)
    return e

cdef uint64_t large_tcache_index(uint64_t size) noexcept
cdef uint64_t any_tcache_index(State s, uint64_t size) noexcept
cdef void tcache_put_large(State s, uint64_t p, uint64_t index) noexcept
cdef uint64_t tcache_get_large(State s, uint64_t index, uint64_t nb) noexcept
cdef uint64_t tcache_get_aligned(State s, uint64_t index, uint64_t nb, uint64_t alignment) noexcept
cdef uint64_t link_at(State s, uint64_t place, bint mangled) noexcept
cdef void set_link(State s, uint64_t place, bint mangled, uint64_t e) noexcept
cdef uint64_t take_linked(State s, uint64_t index, uint64_t place, bint mangled, uint64_t e) noexcept
cdef bint tcache_holds(State s, uint64_t mem, uint64_t index) noexcept
cdef void new_tcache(State s, uint64_t mem) noexcept
