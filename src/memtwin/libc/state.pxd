# SPDX-License-Identifier: LGPL-2.1-or-later
# What every part of the allocator shares, and the accessors that are inlined where the allocator runs.
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from memtwin.hostmem cimport load8, load16, load32, load64, store16, store32, store64
from memtwin.kernel.addrspace cimport AddressSpace
from memtwin.memory cimport READ, WRITE, load_u16, load_u32, load_u64, store_u16, store_u32, store_u64

cdef enum:
    PREV_INUSE = 1
    IS_MMAPPED = 2
    NON_MAIN_ARENA = 4
    SIZE_BITS = 7
    ALIGNMENT = 16
    ALIGN_MASK = 15

    AV_FLAGS = 4
    AV_HAVE_FASTCHUNKS = 8
    NBINS = 128
    BINMAPSIZE = 4
    NONCONTIGUOUS = 2

    TCACHE_SMALL_BINS = 64

cdef enum:
    PROT_NONE = 0
    PROT_READ_WRITE = 3
    MAP_PRIVATE_ANONYMOUS = 34
    MAP_PRIVATE_ANONYMOUS_FIXED = 50
    MAP_NORESERVE = 16384
    MADV_DONTNEED = 4
    MADV_HUGEPAGE = 14
    MAP_HUGETLB = 262144
    MAP_HUGE_SHIFT = 26
    THP_ALWAYS = 0
    THP_MADVISE = 1
    THP_NEVER = 2
    THP_NOT_SUPPORTED = 3
    MREMAP_MAYMOVE = 1
    FASTBIN_CONSOLIDATION_THRESHOLD = 65536
    MMAP_AS_MORECORE_SIZE = 1048576
    ENOMEM = 12
    EINVAL = 22

cdef class State:
    cdef readonly AddressSpace space
    cdef uint64_t window, permissions, mask
    cdef int page_shift
    # what the width of a word decides
    cdef readonly uint64_t word, header, bk, fd_nextsize, bk_nextsize, minsize, min_large
    cdef readonly uint64_t word_mask, ptrdiff_max, small_correction, bins_base, chunk_struct
    cdef readonly int fast_shift
    cdef readonly uint64_t page_size
    cdef readonly bint dead
    cdef readonly object abort
    cdef public int errno "error_number"
    cdef readonly uint64_t main_arena, mp
    cdef bint started
    cdef public bint single
    cdef readonly uint64_t tcache, thread_arena
    cdef bint no_tcache, from_cache
    cdef public uint64_t tcache_key
    cdef readonly uint64_t curbrk
    cdef uint64_t mapped_instead
    cdef public bint morecore_fails

    cdef readonly list pieces
    cdef readonly object top_assertion
    cdef bint holds_lock
    cdef readonly uint64_t mmap_threshold, trim_threshold, top_pad, arena_test, arena_max
    cdef readonly uint64_t tcache_bins, tcache_count, tcache_unsorted_limit, tcache_max_bytes
    cdef readonly uint64_t max_fast, thp_pagesize, hp_pagesize
    cdef readonly int64_t hp_flags, n_mmaps_max
    cdef readonly int perturb, thp_mode
    cdef readonly bint no_dyn_threshold
    cdef readonly int64_t n_mmaps, max_n_mmaps
    cdef readonly uint64_t mmapped_mem, max_mmapped_mem, sbrk_base

    cdef readonly uint64_t heap_max, narenas, narenas_limit, free_list, next_to_use, aligned_heap_area
    cdef public uint64_t cpus
    cdef readonly uint64_t bytes_copied, unsorted_count, link_mask

    # what the release decides (release.py)
    cdef readonly uint64_t nfastbins, largest_max_fast, arenas_per_cpu, mmap_threshold_max
    cdef readonly uint64_t heap_prev, heap_size, heap_mprotect_size
    cdef readonly uint64_t av_fastbins, av_top, av_last_remainder, av_bins, av_binmap, av_next, av_next_free, av_attached
    cdef readonly uint64_t av_system_mem, av_max_system_mem, av_size, heap_info
    cdef readonly uint64_t tcache_entries, tcache_bytes, tcache_all_bins
    cdef uint16_t tcache_one
    cdef readonly bint hooks, free_keeps_errno, tcache_walk_ends, random_tcache_key, any_mmap_threshold
    cdef readonly bint heap_pagesize, transposed_fallback, heaps_noreserve, realloc_keeps_what_fits
    cdef readonly bint realloc_keeps_rounding, memalign_from_tcache, memalign_scans_bins, strict_aligned_alloc
    cdef readonly bint memalign_merges, calloc_from_tcache, frees_to_smallbin, starts_at_load, tcache_counts_down
    cdef readonly bint tcache_large_bins, remainders_bypass_tcache, double_free_retries, fixed_heap_max, no_fastbins
    cdef readonly bint tcache_small_size_fixed, mapped_like_heap, tcache_dummy, exact_large_tcache
    cdef readonly bint memalign_in_mapping, plain_fallback, brk_asked, thp_heaps, shutdown_to_arena, thp_always
    cdef readonly bint hugetlb, late_size_check, checks_nextsize, checks_fastbin_size
    cdef readonly bint mmap_threshold_of_huge, advises_once, advises_upwards, marks_huge_mappings
    cdef readonly bint checks_alignment, debug_names_mappings, realloc_check_silent, mcheck_by_hooks
    cdef readonly bint mcheck_size_unknown, debug_size_of_none
    cdef readonly bint names_mappings

    cdef void die(self, object message) noexcept
    cdef uint64_t fail(self) noexcept
    cdef int64_t told(self, int64_t result) noexcept
    cdef void set_tcache(self, uint64_t cache) noexcept
    cdef void count_mmap(self, int64_t chunks, int64_t size) noexcept
    cdef uint64_t sbrk(self, int64_t increment) noexcept

cdef uint64_t get_slowly(State s, uint64_t address) noexcept
cdef void put_slowly(State s, uint64_t address, uint64_t value) noexcept

cdef inline uint64_t get(State s, uint64_t address) noexcept:
    cdef uint64_t at = address & s.mask
    if load8(s.permissions + (at >> s.page_shift)) & READ:
        return load64(s.window + at)
    return get_slowly(s, address)

cdef inline void put(State s, uint64_t address, uint64_t value) noexcept:
    cdef uint64_t at = address & s.mask
    if load8(s.permissions + (at >> s.page_shift)) & WRITE:
        store64(s.window + at, value)
    else:
        put_slowly(s, address, value)

cdef inline uint16_t get16(State s, uint64_t address) noexcept:
    cdef uint64_t at = address & s.mask
    if load8(s.permissions + (at >> s.page_shift)) & READ:
        return load16(s.window + at)
    return load_u16(s.space, address & s.word_mask)

cdef inline void put16(State s, uint64_t address, uint16_t value) noexcept:
    cdef uint64_t at = address & s.mask
    if load8(s.permissions + (at >> s.page_shift)) & WRITE:
        store16(s.window + at, value)
    else:
        store_u16(s.space, address & s.word_mask, value)

cdef inline uint32_t get32(State s, uint64_t address) noexcept:
    cdef uint64_t at = address & s.mask
    if load8(s.permissions + (at >> s.page_shift)) & READ:
        return load32(s.window + at)
    return load_u32(s.space, address & s.word_mask)

cdef inline void put32(State s, uint64_t address, uint32_t value) noexcept:
    cdef uint64_t at = address & s.mask
    if load8(s.permissions + (at >> s.page_shift)) & WRITE:
        store32(s.window + at, value)
    else:
        store_u32(s.space, address & s.word_mask, value)
