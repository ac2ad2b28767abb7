# SPDX-License-Identifier: LGPL-2.1-or-later
# The compiled face of hostmem.py: what is ctypes there is one instruction here. Same names, same contracts.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memmove, memset

cdef extern from "sys/mman.h" nogil:
    void* _mmap "mmap"(void* address, size_t length, int prot, int flags, int fd, long offset)
    int _munmap "munmap"(void* address, size_t length)
    int _madvise "madvise"(void* address, size_t length, int advice)
    const int PROT_READ
    const int PROT_WRITE
    const int MAP_PRIVATE
    const int MAP_ANONYMOUS
    const int MAP_NORESERVE
    const int MADV_DONTNEED
    const int MADV_NOHUGEPAGE

cdef inline uint64_t reserve(uint64_t length) noexcept nogil:
    cdef uint64_t base = <uint64_t>_mmap(NULL, length, PROT_READ | PROT_WRITE,
                                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    if base == <uint64_t>-1:
        return 0
    _madvise(<void*>base, length, MADV_NOHUGEPAGE)
    return base

cdef inline void release(uint64_t base, uint64_t length) noexcept nogil:
    _munmap(<void*>base, length)

cdef inline void discard(uint64_t base, uint64_t length) noexcept nogil:
    _madvise(<void*>base, length, MADV_DONTNEED)

cdef inline uint64_t load64(uint64_t at) noexcept nogil:
    return (<uint64_t*>at)[0]

cdef inline uint32_t load32(uint64_t at) noexcept nogil:
    return (<uint32_t*>at)[0]

cdef inline uint16_t load16(uint64_t at) noexcept nogil:
    return (<uint16_t*>at)[0]

cdef inline uint8_t load8(uint64_t at) noexcept nogil:
    return (<uint8_t*>at)[0]

cdef inline void store64(uint64_t at, uint64_t value) noexcept nogil:
    (<uint64_t*>at)[0] = value

cdef inline void store32(uint64_t at, uint32_t value) noexcept nogil:
    (<uint32_t*>at)[0] = value

cdef inline void store16(uint64_t at, uint16_t value) noexcept nogil:
    (<uint16_t*>at)[0] = value

cdef inline void store8(uint64_t at, uint8_t value) noexcept nogil:
    (<uint8_t*>at)[0] = value

cdef inline void copy(uint64_t to, uint64_t source, uint64_t length) noexcept nogil:
    memmove(<void*>to, <void*>source, length)

cdef inline void fill(uint64_t at, uint8_t value, uint64_t length) noexcept nogil:
    memset(<void*>at, value, length)

cdef inline bint same(uint64_t one, uint64_t other, uint64_t length) noexcept nogil:
    return memcmp(<void*>one, <void*>other, length) == 0

cdef extern from *:
    void _prefetch "__builtin_prefetch"(const void* at) noexcept nogil

cdef inline void prefetch(uint64_t at) noexcept nogil:
    _prefetch(<void*>at)
