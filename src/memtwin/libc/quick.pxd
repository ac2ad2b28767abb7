# SPDX-License-Identifier: LGPL-2.1-or-later
# What quick.py says, inlined where it is called.
from libc.stdint cimport uint16_t, uint64_t
from memtwin.hostmem cimport load8, load16, load64, store16, store64
from memtwin.libc.malloc cimport Malloc
from memtwin.libc.state cimport ALIGN_MASK, IS_MMAPPED, SIZE_BITS, TCACHE_SMALL_BINS, State
from memtwin.memory cimport WRITE

cdef enum:
    HEADER = 16

cdef inline uint64_t index_of(uint64_t size) noexcept:
    return (size - HEADER - 1) >> 4

cdef inline uint64_t direct(State s, uint64_t address) noexcept:
    cdef uint64_t at = address & s.mask
    return s.window + at if load8(s.permissions + (at >> s.page_shift)) & WRITE else 0

cdef inline uint64_t quick_bins(Malloc s) noexcept:
    cdef uint64_t bins
    cdef uint64_t last = s.tcache + s.tcache_bytes - 1
    if s.tcache == 0 or (s.tcache ^ last) >> s.page_shift or s.hooked or s.dead or s.space.stop_signal:
        return 0
    if not s.tcache_large_bins:
        return s.tcache_bins
    bins = index_of(s.tcache_max_bytes)
    return bins if bins < TCACHE_SMALL_BINS else TCACHE_SMALL_BINS

cdef inline uint64_t quick_malloc(State s, uint64_t request, uint64_t bins, uint64_t first) noexcept:
    cdef uint64_t index = (request - 9) >> 4 if request > 24 else 0
    cdef uint64_t cache, count, entry, e, block
    if index >= bins:
        return 0
    cache = direct(s, s.tcache)
    count = cache + 2 * index
    entry = cache + s.tcache_entries + 8 * index
    if cache == 0 or (load16(count) == 0 and not s.tcache_counts_down):
        return 0
    e = load64(entry)
    block = direct(s, e)
    if e == 0 or block == 0 or e & ALIGN_MASK:
        return 0
    store64(entry, ((e >> 12) & s.link_mask) ^ load64(block))
    store16(count, <uint16_t>(load16(count) - s.tcache_one))
    store64(block + 8, 0)
    store64(block, first)
    return e

cdef inline uint64_t quick_free(State s, uint64_t mem, uint64_t bins) noexcept:
    cdef uint64_t block = direct(s, mem)
    cdef uint64_t size, index, cache, count, entry, head, places, first
    if block == 0 or mem & ALIGN_MASK or mem & (s.page_size - 1) == 0:
        return 0
    head = load64(block - 8)
    size = head & ~<uint64_t>SIZE_BITS
    index = index_of(size)
    if index >= bins or size & ALIGN_MASK or head & IS_MMAPPED or mem - HEADER > -size:
        return 0
    first = load64(block)
    cache = direct(s, s.tcache)
    if cache == 0 or load64(block + 8) == s.tcache_key:
        return 0
    count = cache + 2 * index
    entry = cache + s.tcache_entries + 8 * index
    places = load16(count)
    if not (places if s.tcache_counts_down else places < s.tcache_count) or first == 0:
        return 0
    store64(block + 8, s.tcache_key)
    store64(block, ((mem >> 12) & s.link_mask) ^ load64(entry))
    store64(entry, mem)
    store16(count, <uint16_t>(places + s.tcache_one))
    return first
