# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Malloc: the allocator of one process with C's entry points, on the system calls of its address space.

Every entry works for the current thread (`switch_thread`). Results are C's: a pointer or 0, with `errno`. Nothing
raises; after a failed integrity check `dead` is set and `abort` holds glibc's message.
"""

from __future__ import annotations

from collections.abc import Mapping

import cython

from memtwin.errors import UserError
from memtwin.kernel.addrspace import AddressSpace
from memtwin.libc import stats
from memtwin.libc.state import State
from memtwin.libc.tunables import apply_tunables

if not cython.compiled:
    from memtwin.libc.arena import arena_get, arena_get_retry, arena_of, arenas_after_fork, release_arena
    from memtwin.libc.bins import bin_at, bin_index, chunk_size, consolidate, init_arena, request_size
    from memtwin.libc.give import int_free, munmap_chunk, systrim
    from memtwin.libc.more import mremap_chunk
    from memtwin.libc.state import (
        ALIGN_MASK,
        ALIGNMENT,
        AV_ATTACHED,
        AV_MAX_SYSTEM_MEM,
        AV_NEXT,
        AV_TOP,
        CHUNK_STRUCT,
        EINVAL,
        ENOMEM,
        HEADER,
        HEAP_MPROTECT_SIZE,
        IS_MMAPPED,
        MADV_DONTNEED,
        MINSIZE,
        MMAP_THRESHOLD_MAX,
        NBINS,
        PREV_INUSE,
        PTRDIFF_MAX,
        TCACHE_BYTES,
        TCACHE_ENTRIES,
        WORD,
        get,
        get16,
        put,
    )
    from memtwin.libc.take import int_malloc, int_memalign, int_realloc
    from memtwin.libc.tcache import tcache_get, tcache_index

RELEASES = ("2.36",)
LIBC_DATA = 0x7FFFF7FAB000  # where a process without a recorded C library gets a page or two for main_arena and mp_
MAIN_ARENA_OFFSET, MP_OFFSET = 0xC60, 0x340


class Malloc(State):
    """The allocator of a process before its first call.

    release: of glibc. tunables: by their glibc.malloc names without the prefix, such as {"mmap_threshold": 65536}.
    main_arena, mp: where the C library keeps them; by default in a mapping that is made for them. cpus: processors
    the process may use. UserError: an unknown release or tunable.
    """

    def __init__(
        self,
        space: AddressSpace,
        release: str = "2.36",
        tunables: Mapping[str, int] | None = None,
        data_model: str = "LP64",
        cpus: int = 1,
        main_arena: int = 0,
        mp: int = 0,
    ) -> None:
        if release not in RELEASES:
            raise UserError(f"glibc {release} is not modelled: known releases are {', '.join(RELEASES)}")
        if data_model != "LP64":
            raise UserError(f"data model {data_model!r} is not modelled: LP64 is")
        if main_arena == 0:
            space.restore_vma(LIBC_DATA, LIBC_DATA + 2 * space.page_size, 3, label="[libc data]")
            main_arena, mp = LIBC_DATA + MAIN_ARENA_OFFSET, LIBC_DATA + MP_OFFSET
        State.__init__(self, space, main_arena, mp, cpus)
        self.release = release
        self.threads: dict[int, tuple[int, int, bool]] = {}
        self.tid = 0
        apply_tunables(self, tunables or {})

    # starting

    def start(self) -> None:
        """ptmalloc_init: at the first call of the process."""
        self.started = True
        self.thread_arena = self.main_arena
        init_arena(self, self.main_arena)
        put(self, self.main_arena + AV_NEXT, self.main_arena)
        put(self, self.main_arena + AV_ATTACHED, 1)

    def init_tcache(self) -> None:
        """Give the thread its cache, a chunk of its arena; without memory it does without one for now."""
        if self.shutting_down:
            return
        av = arena_get(self, TCACHE_BYTES)
        mem = int_malloc(self, av, TCACHE_BYTES)
        if mem == 0 and av and not self.dead:
            av = arena_get_retry(self, av, TCACHE_BYTES)
            mem = int_malloc(self, av, TCACHE_BYTES)
        if mem:
            self.tcache = mem
            self.space.clear(mem, 0, TCACHE_BYTES)

    # the entries

    def malloc(self, request: int) -> int:
        """malloc(3)."""
        if not self.started:
            self.start()
        nb = request_size(request)
        if nb == 0:
            return self.fail()
        if self.tcache == 0:
            self.init_tcache()
        index = tcache_index(nb)
        if index < self.tcache_bins and self.tcache and get16(self, self.tcache + 2 * index):
            return tcache_get(self, index)
        return self.from_arena(request)

    def from_arena(self, request: int) -> int:
        """A block from the thread's arena, or another when that has none."""
        if self.single:
            return int_malloc(self, self.main_arena, request)
        av = arena_get(self, request)
        mem = int_malloc(self, av, request)
        if mem == 0 and av and not self.dead:
            mem = int_malloc(self, arena_get_retry(self, av, request), request)
        return mem

    def free(self, mem: int) -> None:
        """free(3); errno stays."""
        if mem:
            error = self.errno
            self.free_chunk(mem - HEADER)
            self.errno = error

    def free_chunk(self, p: int) -> None:
        """`free` for a chunk. A mapped one raises the mmap threshold to its size, and trimming to twice that."""
        head = get(self, p + 8)
        if not head & IS_MMAPPED:
            if self.tcache == 0:
                self.init_tcache()
            int_free(self, arena_of(self, p), p)
            return
        if not self.no_dyn_threshold and self.mmap_threshold < head <= MMAP_THRESHOLD_MAX:
            self.mmap_threshold = chunk_size(self, p)
            self.trim_threshold = 2 * self.mmap_threshold
        munmap_chunk(self, p)

    def calloc(self, count: int, size: int) -> int:
        """calloc(3): clears what may have been used before, and only that."""
        if size and count > PTRDIFF_MAX // size:
            return self.fail()
        request = count * size
        if not self.started:
            self.start()
        if self.tcache == 0:
            self.init_tcache()
        av = self.main_arena if self.single else arena_get(self, request)
        top = top_size = 0
        if av:
            top = get(self, av + AV_TOP)
            top_size = chunk_size(self, top)
            if av == self.main_arena:
                known = (self.sbrk_base + get(self, av + AV_MAX_SYSTEM_MEM) - top) & WORD
            else:
                heap = top & ~(self.heap_max - 1)
                known = heap + get(self, heap + HEAP_MPROTECT_SIZE) - top
            if top_size < known:
                top_size = known
        mem = int_malloc(self, av, request)
        if mem == 0 and not self.single and av and not self.dead:
            mem = int_malloc(self, arena_get_retry(self, av, request), request)
        if mem:
            self.clear(mem, request, top, top_size)
        return mem

    def clear(self, mem: int, request: int, top: int, top_size: int) -> None:
        """The bytes of a calloc become zero; those of a mapping, or beyond what the top ever was, are zero already."""
        p = mem - HEADER
        if get(self, p + 8) & IS_MMAPPED:
            if self.perturb:
                self.space.clear(mem, 0, request)
            return
        size = chunk_size(self, p)
        if self.perturb == 0 and p == top and size > top_size:
            size = top_size
        self.space.clear(mem, 0, size - 8)

    def realloc(self, mem: int, request: int) -> int:
        """realloc(3): of 0 is malloc, to 0 is free."""
        if not self.started:
            self.start()
        if mem == 0:
            return self.malloc(request)
        if request == 0:
            self.free(mem)
            return 0
        p = mem - HEADER
        head = get(self, p + 8)
        old_size = head & ~7
        if not head & IS_MMAPPED and self.tcache == 0:
            self.init_tcache()
        if p > ((-old_size) & WORD) or p & ALIGN_MASK:
            self.die("realloc(): invalid pointer")
            return 0
        nb = request_size(request)
        if nb == 0:
            return self.fail()
        if head & IS_MMAPPED:
            return self.realloc_mapped(mem, request, nb)
        av = arena_of(self, p)
        new = int_realloc(self, av, p, old_size, nb)
        if new == 0 and not self.single and not self.dead:
            new = self.malloc(request)
            if new:
                self.space.move(new, mem, old_size - 8)
                self.bytes_copied += old_size - 8
                int_free(self, av, p)
        return new

    def realloc_mapped(self, mem: int, request: int, nb: int) -> int:
        """realloc of a chunk with a mapping of its own: the kernel moves it, or it is copied."""
        p = mem - HEADER
        old_size = chunk_size(self, p)
        moved = mremap_chunk(self, p, nb)
        if moved:
            return moved + HEADER
        if self.dead or old_size - 8 >= nb:
            return 0 if self.dead else mem
        new = self.malloc(request)
        if new:
            self.space.move(new, mem, old_size - HEADER)
            self.bytes_copied += old_size - HEADER
            munmap_chunk(self, p)
        return new

    def reallocarray(self, mem: int, count: int, size: int) -> int:
        """reallocarray(3): realloc with the product, or ENOMEM when that overflows."""
        if size and count > WORD // size:
            return self.fail()
        return self.realloc(mem, count * size)

    def memalign(self, alignment: int, request: int) -> int:
        """memalign(3): an alignment that is no power of two is rounded up to one."""
        if not self.started:
            self.start()
        if alignment <= ALIGNMENT:
            return self.malloc(request)
        if alignment > PTRDIFF_MAX + 1:
            self.errno = EINVAL
            return 0
        power = 2 * ALIGNMENT
        while power < alignment:
            power <<= 1
        return self.aligned(power, request)

    def aligned(self, alignment: int, request: int) -> int:
        """A block at a multiple of `alignment`, a power of two from 32, from the thread's arena or another."""
        if self.single:
            return int_memalign(self, self.main_arena, alignment, request)
        av = arena_get(self, (request + alignment + MINSIZE) & WORD)
        mem = int_memalign(self, av, alignment, request)
        if mem == 0 and av and not self.dead:
            mem = int_memalign(self, arena_get_retry(self, av, request), alignment, request)
        return mem

    def aligned_alloc(self, alignment: int, request: int) -> int:
        """aligned_alloc(3), the same as memalign until glibc 2.38."""
        return self.memalign(alignment, request)

    def posix_memalign(self, alignment: int, request: int) -> int:
        """posix_memalign(3)'s block, or 0; its return value, EINVAL or ENOMEM, is in `errno` then."""
        if alignment == 0 or alignment & 7 or alignment & (alignment - 1):
            self.errno = EINVAL
            return 0
        mem = self.memalign(alignment, request)
        if mem == 0:
            self.errno = ENOMEM
        return mem

    def valloc(self, request: int) -> int:
        """valloc(3): page-aligned."""
        if not self.started:
            self.start()
        return self.aligned(self.page_size, request)

    def pvalloc(self, request: int) -> int:
        """pvalloc(3): page-aligned, whole pages."""
        if request > WORD - (self.page_size - 1):
            return self.fail()
        if not self.started:
            self.start()
        return self.aligned(self.page_size, (request + self.page_size - 1) & ~(self.page_size - 1))

    def malloc_usable_size(self, mem: int) -> int:
        """malloc_usable_size(3), bytes; 0 for a chunk that is not in use."""
        if mem == 0:
            return 0
        p = mem - HEADER
        size = chunk_size(self, p)
        if get(self, p + 8) & IS_MMAPPED:
            return size - HEADER
        return size - 8 if get(self, p + size + 8) & PREV_INUSE else 0

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
            av = get(self, av + AV_NEXT)
            if av == self.main_arena or self.dead or self.space.stop_signal:
                return result

    def trim_arena(self, av: int, pad: int) -> bool:
        """`malloc_trim` of one arena (mtrim)."""
        consolidate(self, av)
        result = False
        page_bin = bin_index(self.page_size)
        for index in range(1, NBINS):
            if index != 1 and index < page_bin:
                continue
            bin = bin_at(av, index)
            p = get(self, bin + 24)
            while p != bin and not self.dead and not self.space.stop_signal:
                if self.discard_pages(p):
                    result = True
                p = get(self, p + 24)
        if av == self.main_arena and systrim(self, av, pad):
            result = True
        return result

    def discard_pages(self, p: int) -> bool:
        """Give back the whole pages inside a free chunk; False when there is none."""
        size = chunk_size(self, p)
        if size <= self.page_size - 1 + CHUNK_STRUCT:
            return False
        start = (p + CHUNK_STRUCT + self.page_size - 1) & ~(self.page_size - 1)
        size = (p + size - start) & ~(self.page_size - 1)
        if size == 0:
            return False
        self.space.sys_madvise(start, size, MADV_DONTNEED)
        return True

    def mallopt(self, parameter: int, value: int) -> int:
        """mallopt(3): 1, or 0 when glibc refuses the value. Setting one of the thresholds freezes the dynamic rule."""
        if not self.started:
            self.start()
        consolidate(self, self.main_arena)
        return self.set_parameter(parameter, value)

    def set_parameter(self, parameter: int, value: int) -> int:
        """One of mallopt's parameters, by its number; 0 when glibc refuses the value."""
        unsigned = value & WORD
        if parameter == 1:
            if not 0 <= value <= 160:
                return 0
            self.max_fast = (value + 8) & ~ALIGN_MASK if value else 16
        elif parameter == -1:
            self.trim_threshold = unsigned
            self.no_dyn_threshold = True
        elif parameter == -2:
            self.top_pad = unsigned
            self.no_dyn_threshold = True
        elif parameter == -3:
            self.mmap_threshold = unsigned
            self.no_dyn_threshold = True
        elif parameter == -4:
            self.n_mmaps_max = value
            self.no_dyn_threshold = True
        elif parameter == -6:
            self.perturb = value & 255
        elif parameter == -7:
            if value > 0:
                self.arena_test = value
        elif parameter == -8:
            if value > 0:
                self.arena_max = value
        return 1

    def set_tunable(self, name: str, value: int) -> None:
        """One tunable, as ptmalloc_init sets it; a value that glibc refuses changes nothing."""
        parameter = {"mxfast": 1, "trim_threshold": -1, "top_pad": -2, "mmap_threshold": -3, "mmap_max": -4,
                     "perturb": -6, "arena_test": -7, "arena_max": -8}.get(name)  # fmt: skip
        if parameter is not None:
            self.set_parameter(parameter, value)
        elif name == "tcache_max" and 0 <= value <= 1032:
            self.tcache_max_bytes = value
            self.tcache_bins = tcache_index(request_size(value)) + 1
        elif name == "tcache_count" and 0 <= value <= 65535:
            self.tcache_count = value
        elif name == "tcache_unsorted_limit":
            self.tcache_unsorted_limit = value

    def program_sbrk(self, increment: int) -> int:
        """sbrk(2) by the program itself: the old break, or 0 with ENOMEM."""
        return self.sbrk(increment)

    # threads

    def thread_start(self, tid: int) -> None:
        """A thread begins, as one of several from now on; the calling one stays current until `switch_thread`."""
        self.single = False
        self.threads[tid] = (0, 0, False)

    def switch_thread(self, tid: int) -> None:
        """The next calls are made by thread `tid`; one never seen is the first thread or has just begun."""
        if tid == self.tid:
            return
        if self.tid == 0 and tid not in self.threads:
            self.tid = tid
            return
        self.threads[self.tid] = (self.tcache, self.thread_arena, self.shutting_down)
        self.tid = tid
        self.tcache, self.thread_arena, self.shutting_down = self.threads.get(tid, (0, 0, False))

    def thread_exit(self, tid: int) -> None:
        """Thread `tid` ends: its cache is emptied into the arenas, its arena given up (__malloc_arena_thread_freeres)."""
        self.switch_thread(tid)
        cache = self.tcache
        self.shutting_down = True
        self.tcache = 0
        if cache:
            for index in range(64):
                entry = cache + TCACHE_ENTRIES + 8 * index
                e = get(self, entry)
                while e and not self.dead and not self.space.stop_signal:
                    if e & ALIGN_MASK:
                        self.die("tcache_thread_shutdown(): unaligned tcache chunk detected")
                        break
                    put(self, entry, ((e >> 12) & self.link_mask) ^ get(self, e))
                    self.free(e)
                    e = get(self, entry)
            self.free(cache)
        release_arena(self)
        self.threads.pop(tid, None)

    def caches(self) -> list[int]:
        """Where the tcaches of all threads lie that have one."""
        others = [state[0] for tid, state in self.threads.items() if tid != self.tid]
        return [cache for cache in (self.tcache, *others) if cache]

    def fork(self, space: AddressSpace) -> Malloc:
        """The allocator of a child whose memory is `space`, a fork of this one's: only the calling thread goes on.

        The child's first `switch_thread` tells under which tid.
        """
        child = Malloc(space, self.release, main_arena=self.main_arena, mp=self.mp, cpus=self.cpus)
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
        self.tcache_key, self.morecore_fails, self.link_mask = other.tcache_key, other.morecore_fails, other.link_mask
        self.mmap_threshold, self.trim_threshold, self.top_pad = (
            other.mmap_threshold, other.trim_threshold, other.top_pad,
        )  # fmt: skip
        self.arena_test, self.arena_max, self.max_fast = other.arena_test, other.arena_max, other.max_fast
        self.tcache_bins, self.tcache_count = other.tcache_bins, other.tcache_count
        self.tcache_unsorted_limit, self.tcache_max_bytes = other.tcache_unsorted_limit, other.tcache_max_bytes
        self.thp_pagesize, self.hp_pagesize, self.hp_flags = other.thp_pagesize, other.hp_pagesize, other.hp_flags
        self.n_mmaps_max, self.perturb, self.no_dyn_threshold = (
            other.n_mmaps_max, other.perturb, other.no_dyn_threshold,
        )  # fmt: skip
        self.n_mmaps, self.max_n_mmaps = other.n_mmaps, other.max_n_mmaps
        self.mmapped_mem, self.max_mmapped_mem = other.mmapped_mem, other.max_mmapped_mem
        self.sbrk_base, self.heap_max, self.narenas = other.sbrk_base, other.heap_max, other.narenas
        self.narenas_limit, self.next_to_use = other.narenas_limit, other.next_to_use
        self.aligned_heap_area, self.pieces = other.aligned_heap_area, list(other.pieces)
