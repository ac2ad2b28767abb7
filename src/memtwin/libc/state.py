# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""State: what every part of the allocator shares, and where glibc keeps it.

The heap's own state lies in the simulated memory at glibc's offsets: chunks, bins and tops, tcaches, heap_info. What
follows is true of glibc 2.36 on 64-bit machines (struct malloc_chunk, malloc_state, tcache_perthread_struct,
heap_info of malloc/malloc.c and malloc/arena.c).

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

A bin is addressed as if it were a chunk whose fd and bk are the bin's two words. The parameters (mp_) and what is
static in malloc.c are fields here; `mp` is where mp_ lies, for those who want to see it in memory (`write_mp`).

Failure: nothing raises. `errno` is C's. A failed integrity check sets `abort` to glibc's own message and `dead`;
everything returns 0 from then on. An access that the kernel refuses leaves the address space's stop fields set.
"""

from __future__ import annotations

import cython

from memtwin.kernel.addrspace import AddressSpace

if not cython.compiled:
    from memtwin.hostmem import load8, load16, load32, load64, store16, store32, store64
    from memtwin.memory import READ, WRITE, load_u16, load_u32, load_u64, store_u16, store_u32, store_u64

    PREV_INUSE, IS_MMAPPED, NON_MAIN_ARENA, SIZE_BITS = 1, 2, 4, 7
    ALIGNMENT, ALIGN_MASK, HEADER, MINSIZE, MIN_LARGE_SIZE, CHUNK_STRUCT = 16, 15, 16, 32, 1024, 48
    AV_FLAGS, AV_HAVE_FASTCHUNKS, AV_FASTBINS, AV_TOP, AV_LAST_REMAINDER, AV_BINS = 4, 8, 16, 96, 104, 112
    AV_BINMAP, AV_NEXT, AV_NEXT_FREE, AV_ATTACHED, AV_SYSTEM_MEM, AV_MAX_SYSTEM_MEM = 2144, 2160, 2168, 2176, 2184, 2192
    AV_SIZE, NFASTBINS, NBINS, BINMAPSIZE, NONCONTIGUOUS = 2200, 10, 128, 4, 2
    TCACHE_ENTRIES, TCACHE_BYTES, TCACHE_BINS = 128, 640, 64
    HEAP_AR_PTR, HEAP_PREV, HEAP_SIZE, HEAP_MPROTECT_SIZE, HEAP_PAGESIZE, HEAP_INFO = 0, 8, 16, 24, 32, 48
    WORD, PTRDIFF_MAX = 2**64 - 1, 2**63 - 1
    PROT_NONE, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, MAP_PRIVATE_ANONYMOUS_FIXED = 0, 3, 34, 50
    MAP_NORESERVE, MADV_DONTNEED, MREMAP_MAYMOVE = 16384, 4, 1
    MMAP_THRESHOLD_MAX, FASTBIN_CONSOLIDATION_THRESHOLD, MMAP_AS_MORECORE_SIZE = 33554432, 65536, 1048576
    ENOMEM, EINVAL = 12, 22

    def get(s: State, address: int) -> int:
        """The word at an address of the process."""
        at = address & s.mask
        if load8(s.permissions + (at >> s.page_shift)) & READ:
            return load64(s.window + at)
        return load_u64(s.space, address)

    def put(s: State, address: int, value: int) -> None:
        """Store a word."""
        at = address & s.mask
        if load8(s.permissions + (at >> s.page_shift)) & WRITE:
            store64(s.window + at, value)
        else:
            store_u64(s.space, address, value)

    def get16(s: State, address: int) -> int:
        """The 16-bit word at an address of the process."""
        at = address & s.mask
        if load8(s.permissions + (at >> s.page_shift)) & READ:
            return load16(s.window + at)
        return load_u16(s.space, address)

    def put16(s: State, address: int, value: int) -> None:
        """Store a 16-bit word."""
        at = address & s.mask
        if load8(s.permissions + (at >> s.page_shift)) & WRITE:
            store16(s.window + at, value)
        else:
            store_u16(s.space, address, value)

    def get32(s: State, address: int) -> int:
        """The 32-bit word at an address of the process."""
        at = address & s.mask
        if load8(s.permissions + (at >> s.page_shift)) & READ:
            return load32(s.window + at)
        return load_u32(s.space, address)

    def put32(s: State, address: int, value: int) -> None:
        """Store a 32-bit word."""
        at = address & s.mask
        if load8(s.permissions + (at >> s.page_shift)) & WRITE:
            store32(s.window + at, value)
        else:
            store_u32(s.space, address, value)


class State:
    """The allocator of one process, before its first call. See the module's text.

    main_arena, mp: where the C library's data have them, in writable mappings of `space`. cpus: processors the
    process may use, for the limit of arenas. pieces: where each piece of the main arena's memory begins, which glibc
    itself does not remember; for those who look at the heap from outside.
    """

    def __init__(self, space: AddressSpace, main_arena: int, mp: int, cpus: int = 1) -> None:
        self.space = space
        self.window, self.permissions, self.mask = self.space.window, self.space.permissions, self.space.mask
        self.page_shift, self.page_size = self.space.page_shift, self.space.page_size
        self.main_arena, self.mp = main_arena, mp
        self.cpus = cpus
        self.dead = False
        self.abort: str | None = None
        self.errno = 0
        self.started = False
        self.single = True
        self.tcache = self.thread_arena = 0
        self.shutting_down = False
        self.tcache_key = 0x6D656D7477696E21  # glibc draws it at random; replays may set the recorded one
        self.curbrk = 0
        self.morecore_fails = False
        self.link_mask = WORD
        self._set_parameters()
        self.heap_max = 64 << 20
        self.narenas = 1
        self.narenas_limit = self.free_list = self.next_to_use = self.aligned_heap_area = 0
        self.bytes_copied = self.unsorted_count = 0
        self.pieces: list[int] = []

    def _set_parameters(self) -> None:
        """mp_ and its companions as glibc 2.36 has them at start."""
        self.mmap_threshold = self.trim_threshold = self.top_pad = 128 << 10
        self.arena_test, self.arena_max = 8, 0
        self.tcache_bins, self.tcache_count = TCACHE_BINS, 7
        self.tcache_unsorted_limit, self.tcache_max_bytes = 0, 1032
        self.max_fast = 128
        self.thp_pagesize = self.hp_pagesize = 0
        self.hp_flags = 0
        self.n_mmaps_max = 65536
        self.perturb = 0
        self.no_dyn_threshold = False
        self.n_mmaps = self.max_n_mmaps = 0
        self.mmapped_mem = self.max_mmapped_mem = self.sbrk_base = 0

    def die(self, message: str) -> None:
        """malloc_printerr: glibc prints the message and aborts. The first one counts."""
        if not self.dead:
            self.dead = True
            self.abort = message

    def fail(self) -> int:
        """No memory: errno is ENOMEM and the result 0."""
        self.errno = ENOMEM
        return 0

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
        if (increment < 0 and old < -increment) or (increment > 0 and old + increment > PTRDIFF_MAX):
            return self.fail()
        wanted = (old + increment) & WORD
        self.curbrk = self.space.sys_brk(wanted)
        if self.curbrk < wanted:
            return self.fail()
        return old
