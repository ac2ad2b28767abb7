# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint64_t
from memtwin.libc.debug cimport CheckedMalloc
from memtwin.libc.malloc cimport Malloc
from memtwin.libc.state cimport *
from memtwin.memory cimport load_u8, store_u8

cdef extern from *:
    """
    #define MAGIC_WORD 0xfedabeebULL
    #define MAGIC_FREE 0xd8675309ULL
    """
    const uint64_t MAGIC_WORD, MAGIC_FREE

cdef enum:
    MAGIC_BYTE = 0xd7
    NEW_BYTE = 0x93
    FREED_BYTE = 0x95
    OK = 0
    FREE = 1
    HEAD = 2
    TAIL = 3

cdef class McheckMalloc(CheckedMalloc):
    cdef readonly bint used, pedantic
    cdef bint below
    cdef readonly uint64_t root, fields
    cdef public object handler

    @cython.locals(was=McheckMalloc)
    cdef void adopt(self, Malloc other)
    cpdef int mprobe(self, uint64_t mem) noexcept
    cpdef void mcheck_check_all(self) noexcept
    cdef bint stopped(self) noexcept
    cdef int look_at(self, uint64_t h) noexcept
    @cython.locals(key=uint64_t)
    cdef int status_of(self, uint64_t h) noexcept
    @cython.locals(h=uint64_t)
    cdef void look_at_all(self) noexcept
    cdef bint begins(self) noexcept
    @cython.locals(links=uint64_t)
    cdef void sign(self, uint64_t h) noexcept
    @cython.locals(after=uint64_t)
    cdef void link(self, uint64_t h) noexcept
    @cython.locals(before=uint64_t, after=uint64_t)
    cdef void unlink(self, uint64_t h) noexcept
    @cython.locals(mem=uint64_t, h=uint64_t)
    cdef uint64_t dress(self, uint64_t block, uint64_t lead, uint64_t request, uint64_t old_request) noexcept
    @cython.locals(h=uint64_t)
    cdef uint64_t undress(self, uint64_t mem) noexcept
    @cython.locals(h=uint64_t, old_request=uint64_t, moved=uint64_t)
    cdef uint64_t resize(self, uint64_t mem, uint64_t request) noexcept
    @cython.locals(cache=uint64_t, entry=uint64_t, e=uint64_t, index=int64_t)
    cdef void flush_by_hook(self) noexcept
    cpdef void thread_exit(self, int64_t tid) noexcept
    cdef uint64_t plain_malloc(self, uint64_t request) noexcept
    cpdef uint64_t malloc(self, uint64_t request) noexcept
    cpdef uint64_t calloc(self, uint64_t count, uint64_t size) noexcept
    cpdef void free(self, uint64_t mem) noexcept
    @cython.locals(too_large=bint)
    cpdef uint64_t realloc(self, uint64_t mem, uint64_t request) noexcept
    @cython.locals(lead=uint64_t, size=uint64_t, block=uint64_t)
    cpdef uint64_t memalign(self, uint64_t alignment, uint64_t request) noexcept
    @cython.locals(request=uint64_t, none=bint)
    cpdef uint64_t malloc_usable_size(self, uint64_t mem) noexcept
