# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Malloc: the allocator of one process with C's entry points, on the system calls of its address space.

Every entry works for the current thread (`switch_thread`). Results are C's: a pointer or 0, with `errno`. Nothing
raises; after a failed integrity check `dead` is set and `abort` holds glibc's message.
"""

from __future__ import annotations

from collections.abc import Mapping

import cython

from memtwin.kernel.addrspace import AddressSpace
from memtwin.libc import stats
from memtwin.libc.release import DEFAULT, find_release
from memtwin.libc.state import State
from memtwin.libc.thread import Thread, Threads
from memtwin.libc.tunables import apply_tunables

if not cython.compiled:
    from memtwin.libc.arena import arena_of, arenas_after_fork, release_arena
    from memtwin.libc.bins import bin_at, bin_index, chunk_size, consolidate, init_arena, misaligned, request_size
    from memtwin.libc.give import free_rest, munmap_chunk, systrim
    from memtwin.libc.hugepages import set_hugetlb
    from memtwin.libc.more import mremap_chunk
    from memtwin.libc.serve import (
        aligned_block,
        calloc_cached,
        calloc_from_arena,
        flush_tcache,
        free_chunk,
        from_arena,
        init_tcache,
        malloc_by_size,
    )
    from memtwin.libc.state import (
        ALIGN_MASK,
        ALIGNMENT,
        EINVAL,
        ENOMEM,
        IS_MMAPPED,
        MADV_DONTNEED,
        NBINS,
        PREV_INUSE,
        SIZE_BITS,
        get,
        get16,
        put,
    )
    from memtwin.libc.take import int_realloc
    from memtwin.libc.tcache import any_tcache_index, tcache_get, tcache_index

# Where a process without a recorded C library gets a page or two for main_arena and mp_.
LIBC_DATA, LIBC_DATA_32 = 0x7FFFF7FAB000, 0xF7F9D000
MAIN_ARENA_OFFSET, MP_OFFSET = 0xC60, 0x340


class Malloc(State):
    """The allocator of a process before its first call.

    release: of glibc. tunables: by their glibc.malloc names without the prefix, such as {"mmap_threshold": 65536}.
    main_arena, mp: where the C library keeps them; by default in a mapping that is made for them. cpus: processors
    the process may use (before 2.35 and since 2.39: that there are). inherited: main_arena is in use already, in a
    forked child. UserError: an unknown release or tunable.
    """

    def __init__(
        self,
        space: AddressSpace,
        release: str = DEFAULT,
        tunables: Mapping[str, int] | None = None,
        data_model: str = "LP64",
        cpus: int = 1,
        main_arena: int = 0,
        mp: int = 0,
        inherited: bool = False,
    ) -> None:
        found = find_release(release, data_model)
        self.data_model = data_model
        if main_arena == 0:
            data = LIBC_DATA if data_model == "LP64" else LIBC_DATA_32
            space.restore_vma(data, data + 2 * space.page_size, 3, label="[libc data]")
            main_arena, mp = data + MAIN_ARENA_OFFSET, data + MP_OFFSET
        State.__init__(self, space, main_arena, mp, cpus, found)
        self.release = release
        self.threads = Threads()
        self.tid = 0
        self.hooked = self.hooks
        apply_tunables(self, tunables or {})
        if self.starts_at_load and not inherited:
            self.start()

    # starting

    def start(self) -> None:
        """ptmalloc_init: at the first call of the process."""
        self.started = True
        self.thread_arena = self.main_arena
        init_arena(self, self.main_arena)
        put(self, self.main_arena + self.av_next, self.main_arena)
        put(self, self.main_arena + self.av_attached, 1)

    def prepare(self) -> None:
        """What statistics do first, too: begin, if no call has."""
        if not self.started:
            self.start()

    # the entries

    def malloc(self, request: int) -> int:
        """malloc(3)."""
        if self.tcache_large_bins:
            return malloc_by_size(self, request)
        if not self.started:
            self.start()
        self.hooked = False
        nb = request_size(self, request)
        if nb == 0:
            return self.fail()
        if self.tcache == 0:
            init_tcache(self)
        index = tcache_index(self, nb)
        if index < self.tcache_bins and self.tcache and get16(self, self.tcache + 2 * index):
            return tcache_get(self, index)
        return from_arena(self, request)

    def free(self, mem: int) -> None:
        """free(3); errno stays (before 2.33, what the kernel refused may set it; since 2.42 see free_by_size)."""
        if mem:
            error = self.errno
            free_chunk(self, mem - self.header)
            if self.free_keeps_errno and not self.tcache_large_bins:
                self.errno = error

    def calloc(self, count: int, size: int) -> int:
        """calloc(3): clears what may have been used before, and only that."""
        if size and count > (self.word_mask if self.late_size_check else self.ptrdiff_max) // size:
            return self.fail()
        request = count * size
        if not self.started:
            self.start()
        if self.hooked:
            mem = self.malloc(request)
            if mem:
                self.space.clear(mem, 0, request)
            return mem
        if not self.tcache_large_bins and self.tcache == 0:
            init_tcache(self)
        if not self.calloc_from_tcache:
            return calloc_from_arena(self, request)
        nb = request_size(self, request)
        return calloc_cached(self, request, nb) if nb else calloc_from_arena(self, request)

    def realloc(self, mem: int, request: int) -> int:
        """realloc(3): of 0 is malloc, to 0 is free."""
        if not self.started:
            self.start()
        self.hooked = False
        if mem == 0:
            return self.malloc(request)
        if request == 0:
            self.free(mem)
            return 0
        if self.stays(mem, request):
            return mem
        p = mem - self.header
        head = get(self, p + self.word)
        old_size = head & ~SIZE_BITS
        if not head & IS_MMAPPED and self.tcache == 0 and not self.tcache_large_bins:
            init_tcache(self)
        if p > ((-old_size) & self.word_mask) or misaligned(self, p):
            self.die("realloc(): invalid pointer")
            return 0
        nb = request_size(self, request)
        if nb == 0:
            return self.fail()
        if head & IS_MMAPPED:
            return self.realloc_mapped(mem, request, nb)
        av = arena_of(self, p)
        new = int_realloc(self, av, p, old_size, nb)
        if new == 0 and not self.single and not self.dead:
            new = self.malloc(request)
            if new:
                self.space.move(new, mem, old_size - self.word)
                self.bytes_copied += old_size - self.word
                free_rest(self, av, p)
        return new

    def stays(self, mem: int, request: int) -> bool:
        """Whether realloc leaves the block as it is, since 2.37, because the request fits it well enough."""
        if not self.realloc_keeps_what_fits and not self.realloc_keeps_rounding:
            return False
        usable = self.malloc_usable_size(mem)
        if request > usable:
            return False
        if self.realloc_keeps_what_fits:
            return usable - request <= self.trim_threshold
        if usable - request < 16:
            return True
        mapped = get(self, mem - self.word) & IS_MMAPPED != 0 and not self.mapped_like_heap
        return mapped and usable - request <= self.page_size

    def realloc_mapped(self, mem: int, request: int, nb: int) -> int:
        """realloc of a chunk with a mapping of its own: the kernel moves it, or it is copied."""
        p = mem - self.header
        old_size = chunk_size(self, p)
        moved = mremap_chunk(self, p, nb)
        if moved:
            return moved + self.header
        if self.dead or (request <= old_size - self.word if self.mapped_like_heap else old_size - self.word >= nb):
            return 0 if self.dead else mem
        new = self.malloc(request)
        if new:
            self.space.move(new, mem, old_size - self.header)
            self.bytes_copied += old_size - self.header
            munmap_chunk(self, p)
        return new

    def reallocarray(self, mem: int, count: int, size: int) -> int:
        """reallocarray(3): realloc with the product, or ENOMEM when that overflows."""
        if size and count > self.word_mask // size:
            return self.fail()
        return self.realloc(mem, count * size)

    def memalign(self, alignment: int, request: int) -> int:
        """memalign(3): an alignment that is no power of two is rounded up to one."""
        if not self.started:
            self.start()
        if alignment <= ALIGNMENT:
            return self.malloc(request)
        if alignment > self.ptrdiff_max + 1:
            self.errno = EINVAL
            return 0
        power = 2 * ALIGNMENT
        while power < alignment:
            power <<= 1
        return aligned_block(self, power, request)

    def aligned_alloc(self, alignment: int, request: int) -> int:
        """aligned_alloc(3): the same as memalign; since 2.38 EINVAL for an alignment that is no power of two."""
        if self.strict_aligned_alloc and (alignment == 0 or alignment & (alignment - 1)):
            self.errno = EINVAL
            return 0
        return self.memalign(alignment, request)

    def posix_memalign(self, alignment: int, request: int) -> int:
        """posix_memalign(3)'s block, or 0; its return value, 0, EINVAL or ENOMEM, is in `errno`."""
        if alignment == 0 or alignment & (self.word - 1) or alignment & (alignment - 1):
            self.errno = EINVAL
            return 0
        mem = self.memalign(alignment, request)
        self.errno = 0 if mem else ENOMEM
        return mem

    def valloc(self, request: int) -> int:
        """valloc(3): page-aligned."""
        if not self.started:
            self.start()
        return aligned_block(self, self.page_size, request)

    def pvalloc(self, request: int) -> int:
        """pvalloc(3): page-aligned, whole pages."""
        if request > self.word_mask - (self.page_size - 1):
            return self.fail()
        if not self.started:
            self.start()
        return aligned_block(self, self.page_size, (request + self.page_size - 1) & ~(self.page_size - 1))

    def malloc_usable_size(self, mem: int) -> int:
        """malloc_usable_size(3), bytes; 0 for a chunk that is not in use."""
        if mem == 0:
            return 0
        p = mem - self.header
        size = chunk_size(self, p)
        if get(self, p + self.word) & IS_MMAPPED:
            return size - self.word if self.mapped_like_heap else size - self.header
        return size - self.word if get(self, p + size + self.word) & PREV_INUSE else 0

    # what it says about itself

    def mallinfo(self) -> dict[str, int]:
        """mallinfo(3), field by field; ints that wrap at 2 GiB."""
        return stats.mallinfo(self._for_looking())

    def mallinfo2(self) -> dict[str, int]:
        """mallinfo2(3), field by field (glibc has it since 2.33)."""
        return stats.mallinfo2(self._for_looking())

    def malloc_stats(self) -> str:
        """The text that malloc_stats(3) writes to standard error."""
        return stats.malloc_stats(self._for_looking())

    def malloc_info(self, options: int = 0) -> str:
        """The XML that malloc_info(3) writes; nothing for other options than 0, where C returns EINVAL."""
        return "" if options else stats.malloc_info(self._for_looking())

    def _for_looking(self) -> Malloc:
        if not self.started:
            self.start()
        return self

    # giving back, parameters, the break

    def malloc_trim(self, pad: int) -> int:
        """malloc_trim(3): whole free pages of every arena, and the top of the main one down to `pad` bytes."""
        if not self.started:
            self.start()
        result = 0
        av = self.main_arena
        while True:
            if self.trim_arena(av, pad):
                result = 1
            av = get(self, av + self.av_next)
            if av == self.main_arena or self.dead or self.space.stop_signal:
                return result

    def trim_arena(self, av: int, pad: int) -> bool:
        """`malloc_trim` of one arena (mtrim)."""
        consolidate(self, av)
        result = False
        page_bin = bin_index(self, self.page_size)
        for index in range(1, NBINS):
            if index != 1 and index < page_bin:
                continue
            bin = bin_at(self, av, index)
            p = get(self, bin + self.bk)
            while p != bin and not self.dead and not self.space.stop_signal:
                if self.discard_pages(p):
                    result = True
                p = get(self, p + self.bk)
        if av == self.main_arena and systrim(self, av, pad):
            result = True
        return result

    def discard_pages(self, p: int) -> bool:
        """Give back the whole pages inside a free chunk; False when there is none."""
        size = chunk_size(self, p)
        if size <= self.page_size - 1 + self.chunk_struct:
            return False
        start = (p + self.chunk_struct + self.page_size - 1) & ~(self.page_size - 1)
        size = (p + size - start) & ~(self.page_size - 1)
        if size == 0:
            return False
        self.told(self.space.sys_madvise(start, size, MADV_DONTNEED))
        return True

    def mallopt(self, parameter: int, value: int) -> int:
        """mallopt(3): 1, or 0 when glibc refuses the value. Setting one of the thresholds freezes the dynamic rule."""
        if not self.started:
            self.start()
        consolidate(self, self.main_arena)
        return self.set_parameter(parameter, value)

    def set_parameter(self, parameter: int, value: int) -> int:
        """One of mallopt's parameters, by its number; 0 when glibc refuses the value."""
        unsigned = value & self.word_mask
        if parameter == 1:
            if not self.no_fastbins and not 0 <= value <= self.largest_max_fast:
                return 0
            if not self.no_fastbins:
                self.max_fast = (value + self.word) & ~ALIGN_MASK if value else self.header
        elif parameter == -1:
            self.trim_threshold = unsigned
            self.no_dyn_threshold = True
        elif parameter == -2:
            self.top_pad = unsigned
            self.no_dyn_threshold = True
        elif parameter == -3:
            if unsigned > self.heap_max // 2 and not self.any_mmap_threshold:
                return 0
            self.mmap_threshold = unsigned
            self.no_dyn_threshold = True
        elif parameter == -4:
            self.n_mmaps_max = value
            self.no_dyn_threshold = True
        elif parameter == -6:
            self.perturb = value  # a whole int: 256 still switches it on, with bytes of 0
        elif parameter == -7:
            if value > 0:
                self.arena_test = value
        elif parameter == -8 and value > 0:
            self.arena_max = value
        return 1

    def set_tunable(self, name: str, value: int) -> None:
        """One tunable, as ptmalloc_init sets it; a value that glibc refuses changes nothing."""
        parameter = {"mxfast": 1, "trim_threshold": -1, "top_pad": -2, "mmap_threshold": -3, "mmap_max": -4,
                     "perturb": -6, "arena_test": -7, "arena_max": -8}.get(name)  # fmt: skip
        if parameter is not None:
            self.set_parameter(parameter, value)
        elif name == "tcache_max":
            self.set_tcache_max(value & self.word_mask)
        elif name == "tcache_count" and 0 <= value <= 65535:
            self.tcache_count = value
        elif name == "tcache_unsorted_limit":
            self.tcache_unsorted_limit = value
        elif name == "hugetlb":
            set_hugetlb(self, value & self.word_mask)

    def set_tcache_max(self, value: int) -> None:
        """The tunable tcache_max: the largest request that is cached; refused when there is no bin for it."""
        nb = request_size(self, value)
        if not self.tcache_large_bins:
            if value <= 1008 + self.minsize - self.word:
                self.tcache_max_bytes = value
                self.tcache_bins = tcache_index(self, nb) + 1
        elif nb and any_tcache_index(self, nb) < self.tcache_all_bins:
            if nb <= (1040 if self.tcache_small_size_fixed else 1032):
                self.tcache_bins = tcache_index(self, nb) + 1
            self.tcache_max_bytes = nb + 1 if self.tcache_small_size_fixed else nb

    def program_sbrk(self, increment: int) -> int:
        """sbrk(2) by the program itself: the old break, or 0 with ENOMEM."""
        return self.sbrk(increment)

    # threads

    def thread_start(self, tid: int) -> None:
        """A thread begins, as one of several from now on; the calling one stays current until `switch_thread`."""
        self.single = False
        self.threads.begin(tid)

    def switch_thread(self, tid: int) -> None:
        """The next calls are made by thread `tid`; one never seen is the first thread or has just begun."""
        if tid == self.tid:
            return
        if self.tid == 0 and tid not in self.threads.by_tid:
            self.tid = tid
            return
        thread: Thread = self.threads.find(self.tid)
        thread.tcache, thread.arena, thread.no_tcache = self.tcache, self.thread_arena, self.no_tcache
        thread = self.threads.find(tid)
        self.tid, self.thread_arena, self.no_tcache = tid, thread.arena, thread.no_tcache
        self.set_tcache(thread.tcache)

    def thread_exit(self, tid: int) -> None:
        """Thread `tid` ends: its cache is emptied into the arenas, its arena given up (malloc_arena_thread_freeres)."""
        self.switch_thread(tid)
        flush_tcache(self)
        release_arena(self)
        self.threads.end(tid)

    def caches(self) -> list[int]:
        """Where the tcaches of all threads lie that have one."""
        others = [thread.tcache for thread in self.threads.others(self.tid)]
        return [cache for cache in (self.tcache, *others) if cache]

    def fork(self, space: AddressSpace) -> Malloc:
        """The allocator of a child whose memory is `space`, a fork of this one's: only the calling thread goes on.

        The child's first `switch_thread` tells under which tid.
        """
        child = Malloc(space, self.release, None, self.data_model, self.cpus, self.main_arena, self.mp, inherited=True)
        child.adopt(self)
        if child.started:
            arenas_after_fork(child)
        return child

    def adopt(self, other: Malloc) -> None:
        """Take over everything that glibc keeps outside the memory that was forked.

        Also that there were several threads: fork does not take that back (SINGLE_THREAD_P, seen in 2.36).
        """
        self.started, self.single, self.errno, self.curbrk = other.started, other.single, other.errno, other.curbrk
        self.tcache, self.thread_arena = other.tcache, other.thread_arena
        self.tcache_key, self.morecore_fails, self.hooked = other.tcache_key, other.morecore_fails, other.hooked
        self.no_tcache = other.no_tcache
        self.mmap_threshold, self.trim_threshold, self.top_pad = (
            other.mmap_threshold, other.trim_threshold, other.top_pad,
        )  # fmt: skip
        self.arena_test, self.arena_max, self.max_fast = other.arena_test, other.arena_max, other.max_fast
        self.tcache_bins, self.tcache_count = other.tcache_bins, other.tcache_count
        self.tcache_unsorted_limit, self.tcache_max_bytes = other.tcache_unsorted_limit, other.tcache_max_bytes
        self.thp_pagesize, self.hp_pagesize, self.hp_flags = other.thp_pagesize, other.hp_pagesize, other.hp_flags
        self.thp_mode = other.thp_mode
        self.n_mmaps_max, self.perturb, self.no_dyn_threshold = (
            other.n_mmaps_max, other.perturb, other.no_dyn_threshold,
        )  # fmt: skip
        self.n_mmaps, self.max_n_mmaps = other.n_mmaps, other.max_n_mmaps
        self.mmapped_mem, self.max_mmapped_mem = other.mmapped_mem, other.max_mmapped_mem
        self.sbrk_base, self.heap_max, self.narenas = other.sbrk_base, other.heap_max, other.narenas
        self.narenas_limit, self.next_to_use = other.narenas_limit, other.next_to_use
        self.aligned_heap_area, self.pieces = other.aligned_heap_area, list(other.pieces)
