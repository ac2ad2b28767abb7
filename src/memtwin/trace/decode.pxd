# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport uint64_t
from memtwin.hostmem cimport load8, load64, store8, store32, store64
from memtwin.trace.stream cimport (MASK64, OP_BITS, REALLOC_NULL, Stream, pointer_varint, signed_varint, varint)

cdef enum:
    MALLOC = 1
    CALLOC = 2
    REALLOC = 3
    FREE = 4
    MEMALIGN = 5
    ALIGNED_ALLOC = 7
    VALLOC = 8
    PVALLOC = 9
    REALLOCARRAY = 10
    MALLOC_TRIM = 11
    MALLOPT = 12
    MMAP = 16
    MUNMAP = 17
    MREMAP = 18
    MADVISE = 19
    MPROTECT = 20
    BRK = 21
    SBRK = 22
    THREAD_CREATE = 32
    THREAD_START = 33
    THREAD_EXIT = 34
    FORK = 35
    EXEC = 36
    MAPS = 40
    LOST = 41
    END = 42

@cython.final
cdef class Decoder:
    cdef readonly uint64_t rows
    cdef readonly uint64_t rows_before
    cdef readonly uint64_t expected
    cdef readonly uint64_t lost
    cdef readonly uint64_t disorder
    cdef readonly uint64_t allocated_bytes
    cdef readonly uint64_t last_time
    cdef readonly list snapshots
    cdef readonly list forks
    cdef readonly list gaps
    cdef readonly object found
    cdef bytes last_text
    cdef uint64_t snapshot_count
    cdef uint64_t pending_text
    cdef uint64_t capacity
    cdef uint64_t limit
    cdef uint64_t waiting
    cdef list streams
    cdef object heap_keys
    cdef object heap_order
    cdef object count_of
    cdef list columns
    cdef uint64_t keys
    cdef uint64_t order
    cdef uint64_t counts
    cdef uint64_t op_at
    cdef uint64_t flags_at
    cdef uint64_t error_at
    cdef uint64_t thread_at
    cdef uint64_t size_at
    cdef uint64_t pointer_at
    cdef uint64_t argument_at
    cdef uint64_t extra_at
    cdef uint64_t result_at

    @cython.locals(index=uint64_t, stream=Stream)
    cpdef uint64_t fill(self) except? 0
    @cython.locals(stream=Stream)
    cdef bint line_up(self, list streams) except -1
    cdef uint64_t second(self) noexcept
    @cython.locals(key=uint64_t, index=uint64_t, at=uint64_t, child=uint64_t)
    cdef void sink(self) noexcept
    cdef bint run(self, Stream s, uint64_t limit) except -1
    @cython.locals(first=int, op=int, flags=int, size=uint64_t, pointer=uint64_t, argument=uint64_t, result=uint64_t)
    cdef bint event(self, Stream s) except -1
    @cython.locals(size=uint64_t, pointer=uint64_t, argument=uint64_t, result=uint64_t)
    cdef bint rare(self, Stream s, int op, int flags) except -1
    @cython.locals(size=uint64_t, pointer=uint64_t, argument=uint64_t, extra=uint64_t)
    cdef bint mapping(self, Stream s, int op) except -1
    @cython.locals(argument=uint64_t)
    cdef bint process(self, Stream s, int op) except -1
    @cython.locals(row=uint64_t)
    cdef bint put(self, Stream s, int op, int flags, uint64_t size, uint64_t pointer, uint64_t argument,
                  uint64_t extra, uint64_t result) except -1
    @cython.locals(row=uint64_t, missing=uint64_t, at=uint64_t)
    cdef bint gap(self, Stream s) except -1
    cdef void see_time(self, Stream s, uint64_t time_ns) noexcept
    @cython.locals(gap=int)
    cdef bint note_fork(self, Stream s) except -1
    @cython.locals(row=uint64_t, op=int, failed=bint, last=Py_ssize_t)
    cdef bint take_outcome(self, Stream s) except -1
    @cython.locals(time=uint64_t, kind=uint64_t, prefix=uint64_t, suffix=uint64_t, row=uint64_t, text=bytes)
    cdef bint take_maps(self, Stream s) except -1
