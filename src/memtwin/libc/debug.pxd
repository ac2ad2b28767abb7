# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint8_t, uint64_t
from memtwin.libc.bins cimport *
from memtwin.libc.arena cimport arenas_after_fork
from memtwin.libc.give cimport free_rest, munmap_chunk
from memtwin.libc.malloc cimport Malloc
from memtwin.libc.more cimport mremap_chunk
from memtwin.libc.state cimport *
from memtwin.libc.aligned cimport int_memalign
from memtwin.libc.take cimport int_malloc, int_realloc
from memtwin.memory cimport load_u8, store_u8

cdef class CheckedMalloc(Malloc):
    cdef readonly bint checking, preloaded, classic, initialized
    cdef public int action
    cdef public list messages

    @cython.locals(was=CheckedMalloc)
    cdef void adopt(self, Malloc other)
    cdef void first_call(self) noexcept
    cdef bint complain(self, object message, uint64_t mem) noexcept
    cdef bint goes_on(self, uint64_t mem) noexcept
    cdef uint64_t usable(self, uint64_t p) noexcept
    cdef uint64_t mark(self, uint64_t mem, uint64_t request) noexcept
    cdef uint64_t mark_of(self, uint64_t mem) noexcept
    cdef uint64_t checked_mark(self, uint64_t mem) noexcept
    cdef bint heap_chunk_is_sane(self, uint64_t p) noexcept
    cdef bint mapped_chunk_is_sane(self, uint64_t p) noexcept
    cdef bint top_is_sane(self) noexcept
    cdef bint check_top(self) noexcept
    cdef bint replace_top(self) noexcept
    cdef uint64_t resized(self, uint64_t mem, uint64_t request) noexcept
    cdef uint64_t resized_mapping(self, uint64_t p, uint64_t request, uint64_t nb) noexcept
    cpdef uint64_t malloc(self, uint64_t request) noexcept
    cpdef uint64_t calloc(self, uint64_t count, uint64_t size) noexcept
    cpdef uint64_t realloc(self, uint64_t mem, uint64_t request) noexcept
    cpdef void free(self, uint64_t mem) noexcept
    cpdef uint64_t memalign(self, uint64_t alignment, uint64_t request) noexcept
    cpdef uint64_t aligned_alloc(self, uint64_t alignment, uint64_t request) noexcept
    cpdef uint64_t valloc(self, uint64_t request) noexcept
    cpdef uint64_t pvalloc(self, uint64_t request) noexcept
    cpdef uint64_t malloc_usable_size(self, uint64_t mem) noexcept
    cpdef int mallopt(self, int64_t parameter, int64_t value) noexcept
    cpdef int set_parameter(self, int64_t parameter, int64_t value) noexcept
