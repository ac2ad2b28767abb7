# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""State: what every part of the allocator shares, and where glibc keeps it.

The heap's own state lies in the simulated memory at glibc's offsets: chunks, bins and tops, tcaches, heap_info. What
follows is true of glibc 2.36 on 64-bit machines (struct malloc_chunk, malloc_state, tcache_perthread_struct,
heap_info of malloc/malloc.c and malloc/arena.c); where another release or data model differs, the offset is a field
that release.py sets (av_top to av_size, tcache_entries, heap_info). Fields named as a row of release.py say how the
release behaves.

    chunk                                 malloc_state ("arena", av)            tcache of a thread
     0  prev_size  of the chunk below,       4  flags        u32                   0  counts[64]   u16
        if that is free                      8  have_fastchunks u32              128  entries[64]  -> user pointers
     8  size | NON_MAIN | MMAPPED | PREV    16  fastbinsY[10]
    16  fd   \\  user data begins here       96  top                              heap_info, at the start of each
    24  bk    > while the chunk is free    104  last_remainder                   64 MiB heap of a thread's arena
    32  fd_nextsize  large free chunks     112  bins[254]: fd, bk of bins 1…127     0  ar_ptr
    40  bk_nextsize                       2144  binmap[4]    u32                     8  prev
                                          2160  next, next_free, attached_threads   16  size
                                          2184  system_mem, max_system_mem          24  mprotect_size
                                                                                    32  pagesize

A chunk's fields are found by the width of a word: size at p + word, fd at p + header (two words), bk, fd_nextsize and
bk_nextsize behind it. With words of four bytes (ILP32) all of a chunk is half as large, but its user data are aligned
to 16 all the same, so that chunks begin 8 bytes before a multiple of 16, the first one of a heap or mapping too:

    chunk, ILP32:  0 prev_size   4 size   8 fd, user data   12 bk   16 fd_nextsize   20 bk_nextsize      MINSIZE 16

A bin is addressed as if it were a chunk whose fd and bk are the bin's two words. The parameters (mp_) and what is
static in malloc.c are fields here; `mp` is where mp_ lies, for those who want to see it in memory
(parameters.write_mp).

Failure: nothing raises. `errno` is C's. A failed integrity check sets `abort` to glibc's own message and `dead`;
everything returns 0 from then on. An access that the kernel refuses leaves the address space's stop fields set.

Speed: with words of eight bytes `get` and `put` go to the window by a byte test and one access. With words of four
they look at a byte that is never set instead (`mask` is 0), so that every access takes the slower way, which knows the
width.
"""

from __future__ import annotations

import cython

from memtwin.kernel.addrspace import AddressSpace
from memtwin.libc.assertions import top_assertion
from memtwin.libc.release import Release
from memtwin.memory import address_of

if not cython.compiled:
    from memtwin.hostmem import load8, load16, load32, load64, store16, store32, store64
    from memtwin.memory import READ, WRITE, load_u16, load_u32, load_u64, store_u16, store_u32, store_u64

    PREV_INUSE, IS_MMAPPED, NON_MAIN_ARENA, SIZE_BITS = 1, 2, 4, 7
    ALIGNMENT, ALIGN_MASK = 16, 15
    AV_FLAGS, AV_HAVE_FASTCHUNKS = 4, 8
    NBINS, BINMAPSIZE, NONCONTIGUOUS = 128, 4, 2
    TCACHE_SMALL_BINS = 64
    PROT_NONE, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, MAP_PRIVATE_ANONYMOUS_FIXED = 0, 3, 34, 50
    MAP_NORESERVE, MADV_DONTNEED, MADV_HUGEPAGE, MREMAP_MAYMOVE = 16384, 4, 14, 1
    MAP_HUGETLB, MAP_HUGE_SHIFT = 0x40000, 26
    THP_ALWAYS, THP_MADVISE, THP_NEVER, THP_NOT_SUPPORTED = range(4)  # enum malloc_thp_mode_t
    FASTBIN_CONSOLIDATION_THRESHOLD, MMAP_AS_MORECORE_SIZE = 65536, 1048576
    ENOMEM, EINVAL = 12, 22

    def get(s: State, address: int) -> int:
        """The word at an address of the process."""
        at = address & s.mask
        if load8(s.permissions + (at >> s.page_shift)) & READ:
            return load64(s.window + at)
        return get_slowly(s, address)

    def put(s: State, address: int, value: int) -> None:
        """Store a word."""
        at = address & s.mask
        if load8(s.permissions + (at >> s.page_shift)) & WRITE:
            store64(s.window + at, value)
        else:
            put_slowly(s, address, value)

    def get16(s: State, address: int) -> int:
        """The 16-bit word at an address of the process."""
        at = address & s.mask
        if load8(s.permissions + (at >> s.page_shift)) & READ:
            return load16(s.window + at)
        return load_u16(s.space, address & s.word_mask)

    def put16(s: State, address: int, value: int) -> None:
        """Store a 16-bit word."""
        at = address & s.mask
        if load8(s.permissions + (at >> s.page_shift)) & WRITE:
            store16(s.window + at, value)
        else:
            store_u16(s.space, address & s.word_mask, value)

    def get32(s: State, address: int) -> int:
        """The 32-bit word at an address of the process."""
        at = address & s.mask
        if load8(s.permissions + (at >> s.page_shift)) & READ:
            return load32(s.window + at)
        return load_u32(s.space, address & s.word_mask)

    def put32(s: State, address: int, value: int) -> None:
        """Store a 32-bit word."""
        at = address & s.mask
        if load8(s.permissions + (at >> s.page_shift)) & WRITE:
            store32(s.window + at, value)
        else:
            store_u32(s.space, address & s.word_mask, value)


_NEVER = bytearray(8)  # stands for the permission bytes where none may say yes


def get_slowly(s: State, address: int) -> int:
    """`get` of a page without the permission bit, or of a word of four bytes."""
    if s.word == 8:
        return load_u64(s.space, address)
    return load_u32(s.space, address & s.word_mask)


def put_slowly(s: State, address: int, value: int) -> None:
    """`put` likewise."""
    if s.word == 8:
        store_u64(s.space, address, value)
    else:
        store_u32(s.space, address & s.word_mask, value & s.word_mask)


class State:
    """The allocator of one process, before its first call. See the module's text.

    main_arena, mp: where the C library's data have them, in writable mappings of `space`. cpus: processors the
    process may use, for the limit of arenas. pieces: where each piece of the main arena's memory begins, which glibc
    itself does not remember; for those who look at the heap from outside.
    """

    def __init__(self, space: AddressSpace, main_arena: int, mp: int, cpus: int, release: Release) -> None:
        self.space = space
        self.window, self.permissions, self.mask = self.space.window, self.space.permissions, self.space.mask
        self.page_shift, self.page_size = self.space.page_shift, self.space.page_size
        self._set_width(release)
        self.main_arena, self.mp = main_arena, mp
        self.cpus = cpus
        self.dead = False
        self.abort: str | None = None
        self.errno = 0
        self.started = False
        self.single = True
        self.tcache = self.thread_arena = 0
        self.no_tcache = False  # the thread is to do without a cache: it ends, or could not have one
        self.tcache_key = 0x6D656D7477696E21 & self.word_mask  # glibc draws it at random; replays set the recorded one
        self.curbrk = 0
        self.mapped_instead = 0  # where map_instead has mapped last
        self.morecore_fails = False
        self._set_layout(release)
        self._set_behaviour(release)
        self._set_parameters(release)
        self.heap_max = 2 * self.mmap_threshold_max
        self.narenas = 1
        self.narenas_limit = self.free_list = self.next_to_use = self.aligned_heap_area = 0
        self.bytes_copied = self.unsorted_count = 0
        self.from_cache = False  # int_malloc's block came out of the thread's cache after all: it is not perturbed
        self.pieces: list[int] = []
        self.top_assertion = top_assertion(release.name)
        self.holds_lock = False
        self.names_mappings = False  # the debug library has the kernel name what it maps

    def _set_width(self, release: Release) -> None:
        """What follows from the bytes of a word (INTERNAL_SIZE_T): a chunk's fields, the limits, the bins' numbers."""
        word = release.word
        self.word, self.header, self.bk = word, 2 * word, 3 * word
        self.fd_nextsize, self.bk_nextsize = 4 * word, 5 * word
        self.minsize, self.chunk_struct = 4 * word, 6 * word
        self.word_mask, self.ptrdiff_max = (1 << 8 * word) - 1, (1 << 8 * word - 1) - 1
        self.small_correction = 0 if word == 8 else 1
        self.min_large = 1024 - 16 * self.small_correction
        self.fast_shift, self.nfastbins, self.largest_max_fast = (4, 10, 160) if word == 8 else (3, 11, 80)
        self.arenas_per_cpu = 8 if word == 8 else 2
        self.mmap_threshold_max = (32 << 20) if word == 8 else 512 << 10
        if word != 8:
            self.permissions, self.mask = address_of(_NEVER), 0

    def _set_layout(self, release: Release) -> None:
        """Where a release has the fields of an arena and of a thread's cache, and how large heap_info is."""
        word = self.word
        self.av_fastbins = 16 if word == 8 else 12
        self.av_top = release.av_top
        self.av_last_remainder = self.av_top + word
        self.av_bins = self.av_last_remainder + word
        self.bins_base = self.av_bins - 4 * word
        self.av_binmap = self.av_bins + 2 * word * (NBINS - 1)
        self.av_next = self.av_binmap + 4 * BINMAPSIZE
        self.av_next_free = self.av_next + word
        self.av_attached = self.av_next_free + word
        self.av_system_mem = self.av_attached + word
        self.av_max_system_mem = self.av_system_mem + word
        self.av_size = release.state_size
        self.heap_info = release.heap_info
        self.heap_prev, self.heap_size, self.heap_mprotect_size = word, 2 * word, 3 * word
        self.tcache_all_bins = release.tcache_all_bins
        self.tcache_entries = 2 * self.tcache_all_bins
        self.tcache_bytes = (2 + word) * self.tcache_all_bins

    def _set_behaviour(self, release: Release) -> None:
        """One field for each row of release.py that is asked while the allocator runs."""
        has = release.has
        self.link_mask = self.word_mask if has("safe_linking") else 0
        self.tcache_one = 0xFFFF if has("tcache_counts_down") else 1
        self.hooks, self.free_keeps_errno = has("hooks"), has("free_keeps_errno")
        self.tcache_walk_ends, self.random_tcache_key = has("tcache_walk_ends"), has("random_tcache_key")
        self.any_mmap_threshold, self.hugetlb = has("any_mmap_threshold"), has("hugetlb")
        self.heap_pagesize, self.transposed_fallback = has("heap_pagesize"), has("transposed_fallback")
        self.heaps_noreserve = has("heaps_noreserve")
        self.realloc_keeps_what_fits = has("realloc_keeps_what_fits")
        self.realloc_keeps_rounding = has("realloc_keeps_rounding")
        self.memalign_from_tcache, self.memalign_scans_bins = has("memalign_from_tcache"), has("memalign_scans_bins")
        self.strict_aligned_alloc, self.memalign_merges = has("strict_aligned_alloc"), has("memalign_merges")
        self.calloc_from_tcache, self.frees_to_smallbin = has("calloc_from_tcache"), has("frees_to_smallbin")
        self.starts_at_load, self.tcache_counts_down = has("starts_at_load"), has("tcache_counts_down")
        self.tcache_large_bins = has("tcache_large_bins")
        self.remainders_bypass_tcache = has("remainders_bypass_tcache")
        self.double_free_retries, self.fixed_heap_max = has("double_free_retries"), has("fixed_heap_max")
        self.checks_nextsize, self.checks_fastbin_size = has("checks_nextsize"), has("checks_fastbin_size")
        self.checks_alignment = has("checks_alignment")
        self.debug_names_mappings, self.realloc_check_silent = has("debug_names_mappings"), has("realloc_check_silent")
        self.debug_size_of_none = has("debug_size_of_none")
        self.mcheck_by_hooks, self.mcheck_size_unknown = has("mcheck_by_hooks"), has("mcheck_size_unknown")
        self.no_fastbins, self.tcache_small_size_fixed = has("no_fastbins"), has("tcache_small_size_fixed")
        self.mapped_like_heap, self.tcache_dummy = has("mapped_like_heap"), has("tcache_dummy")
        self.exact_large_tcache, self.memalign_in_mapping = has("exact_large_tcache"), has("memalign_in_mapping")
        self.plain_fallback, self.brk_asked = has("plain_fallback"), has("brk_asked")
        self.thp_heaps, self.shutdown_to_arena = has("thp_heaps"), has("shutdown_to_arena")
        self.thp_always, self.late_size_check = has("thp_always"), has("late_size_check")
        self.mmap_threshold_of_huge, self.advises_once = has("mmap_threshold_of_huge"), has("advises_once")
        self.advises_upwards, self.marks_huge_mappings = has("advises_upwards"), has("marks_huge_mappings")

    def _set_parameters(self, release: Release) -> None:
        """mp_ and its companions as a release has them at start."""
        self.mmap_threshold = self.trim_threshold = self.top_pad = 128 << 10
        self.arena_test, self.arena_max = self.arenas_per_cpu, 0
        self.tcache_bins, self.tcache_count = TCACHE_SMALL_BINS, release.tcache_count
        self.tcache_unsorted_limit, self.tcache_max_bytes = 0, release.tcache_max_bytes
        self.max_fast = 0 if self.no_fastbins else 16 * self.word
        self.thp_pagesize = self.hp_pagesize = 0
        self.thp_mode = THP_NOT_SUPPORTED  # nobody has asked for huge pages
        self.hp_flags = 0
        self.n_mmaps_max = 65536
        self.perturb = 0
        self.no_dyn_threshold = False
        self.n_mmaps = self.max_n_mmaps = 0
        self.mmapped_mem = self.max_mmapped_mem = self.sbrk_base = 0

    def die(self, message: str) -> None:
        """malloc_printerr: glibc prints the message and aborts. The first counts, or an illegal access before it."""
        if not self.dead and not self.space.stop_signal:
            self.dead = True
            self.abort = message

    def fail(self) -> int:
        """No memory: errno is ENOMEM and the result 0."""
        self.errno = ENOMEM
        return 0

    def told(self, result: int) -> int:
        """What a system call returned; errno is set when the kernel refused it."""
        if -4096 < result < 0:
            self.errno = -result
        return result

    def set_tcache(self, cache: int) -> None:
        """The current thread's cache, 0 for none. Until 2.34 its address is the key of what it holds."""
        self.tcache = cache
        if not self.random_tcache_key:
            self.tcache_key = cache

    def count_mmap(self, chunks: int, size: int) -> None:
        """`chunks` more mapped chunks of `size` bytes more (or, negative, fewer): mp_'s statistics."""
        self.n_mmaps += chunks
        self.mmapped_mem += size
        if self.n_mmaps > self.max_n_mmaps:
            self.max_n_mmaps = self.n_mmaps
        if self.mmapped_mem > self.max_mmapped_mem:
            self.max_mmapped_mem = self.mmapped_mem

    def sbrk(self, increment: int) -> int:
        """sbrk(2) of the C library: the old break, or 0 when it cannot move (errno is set).

        The library asks the kernel for the break once and remembers what it was answered since.
        """
        if self.curbrk == 0:
            self.curbrk = self.space.sys_brk(0)
        old = self.curbrk
        if increment == 0:
            return old
        if (increment < 0 and old < -increment) or (increment > 0 and old + increment > self.word_mask):
            return self.fail()
        wanted = old + increment
        self.curbrk = self.space.sys_brk(wanted)
        if self.curbrk < wanted:
            return self.fail()
        return old
