# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint64_t
from memtwin.kernel.addrspace cimport AddressSpace
from memtwin.libc.arena cimport arena_of, arenas_after_fork, release_arena
from memtwin.libc.bins cimport *
from memtwin.libc.give cimport free_rest, munmap_chunk, systrim
from memtwin.libc.hugepages cimport set_hugetlb
from memtwin.libc.more cimport mremap_chunk
from memtwin.libc.serve cimport (aligned_block, calloc_cached, calloc_from_arena, flush_tcache, free_chunk, from_arena,
                                 init_tcache, malloc_by_size)
from memtwin.libc.state cimport *
from memtwin.libc.take cimport int_realloc
from memtwin.libc.thread cimport Thread, Threads
from memtwin.libc.tcache cimport any_tcache_index, tcache_get, tcache_index

cdef class Malloc(State):
    cdef readonly object release, data_model
    cdef readonly Threads threads
    cdef bint hooked
    cdef readonly int64_t tid

    cdef void start(self) noexcept
    cpdef void prepare(self) noexcept
    cdef uint64_t realloc_mapped(self, uint64_t mem, uint64_t request, uint64_t nb) noexcept
    cdef bint stays(self, uint64_t mem, uint64_t request) noexcept
    cdef void set_tcache_max(self, uint64_t value) noexcept
    cdef bint trim_arena(self, uint64_t av, uint64_t pad) noexcept
    cdef bint discard_pages(self, uint64_t p) noexcept
    cpdef uint64_t malloc(self, uint64_t request) noexcept
    cpdef uint64_t calloc(self, uint64_t count, uint64_t size) noexcept
    cpdef uint64_t realloc(self, uint64_t mem, uint64_t request) noexcept
    cpdef uint64_t reallocarray(self, uint64_t mem, uint64_t count, uint64_t size) noexcept
    cpdef void free(self, uint64_t mem) noexcept
    cpdef uint64_t memalign(self, uint64_t alignment, uint64_t request) noexcept
    cpdef uint64_t aligned_alloc(self, uint64_t alignment, uint64_t request) noexcept
    cpdef uint64_t posix_memalign(self, uint64_t alignment, uint64_t request) noexcept
    cpdef uint64_t valloc(self, uint64_t request) noexcept
    cpdef uint64_t pvalloc(self, uint64_t request) noexcept
    cpdef uint64_t malloc_usable_size(self, uint64_t mem) noexcept
    cpdef int malloc_trim(self, uint64_t pad) noexcept
    cpdef int mallopt(self, int64_t parameter, int64_t value) noexcept
    cpdef int set_parameter(self, int64_t parameter, int64_t value) noexcept
    cpdef uint64_t program_sbrk(self, int64_t increment) noexcept
    cdef void adopt(self, Malloc other)
    cpdef void thread_start(self, int64_t tid) noexcept
    cpdef void thread_exit(self, int64_t tid) noexcept
    @cython.locals(thread=Thread)
    cpdef void switch_thread(self, int64_t tid) noexcept
