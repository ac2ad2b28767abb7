# SPDX-License-Identifier: LGPL-2.1-or-later
# What other compiled rooms see of Memory. The accessors stand here so that they are inlined where they are called.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from memtwin.hostmem cimport (copy, fill, load8, load16, load32, load64, release, reserve, store8, store16, store32,
                              store64)

cdef enum:
    READ = 1
    WRITE = 2

cdef class Memory:
    cdef uint64_t window
    cdef uint64_t permissions
    cdef uint64_t mask
    cdef readonly int window_bits
    cdef readonly int page_shift
    cdef readonly uint64_t page_size
    cdef readonly int stop_signal
    cdef readonly int stop_code
    cdef readonly int stop_access
    cdef readonly uint64_t stop_address

    cdef uint64_t fault(self, uint64_t address, int access) noexcept
    cdef void stop(self, int signal, int code, uint64_t address, int access) noexcept
    cdef uint64_t reach(self, uint64_t address, int access) noexcept
    cdef bint move(self, uint64_t to, uint64_t source, uint64_t length) noexcept
    cdef bint clear(self, uint64_t address, uint8_t value, uint64_t length) noexcept
    cdef bint get(self, uint64_t host, uint64_t address, uint64_t length) noexcept
    cdef bint put(self, uint64_t address, uint64_t host, uint64_t length) noexcept

cdef inline uint64_t host_address(Memory m, uint64_t address, int access) noexcept:
    cdef uint64_t at = address & m.mask
    if load8(m.permissions + (at >> m.page_shift)) & access:
        return m.window + at
    return m.fault(address, access)

cdef inline uint64_t load_u64(Memory m, uint64_t address) noexcept:
    cdef uint64_t host = host_address(m, address, READ)
    return load64(host) if host else 0

cdef inline uint32_t load_u32(Memory m, uint64_t address) noexcept:
    cdef uint64_t host = host_address(m, address, READ)
    return load32(host) if host else 0

cdef inline uint16_t load_u16(Memory m, uint64_t address) noexcept:
    cdef uint64_t host = host_address(m, address, READ)
    return load16(host) if host else 0

cdef inline uint8_t load_u8(Memory m, uint64_t address) noexcept:
    cdef uint64_t host = host_address(m, address, READ)
    return load8(host) if host else 0

cdef inline void store_u64(Memory m, uint64_t address, uint64_t value) noexcept:
    cdef uint64_t host = host_address(m, address, WRITE)
    if host:
        store64(host, value)

cdef inline void store_u32(Memory m, uint64_t address, uint32_t value) noexcept:
    cdef uint64_t host = host_address(m, address, WRITE)
    if host:
        store32(host, value)

cdef inline void store_u16(Memory m, uint64_t address, uint16_t value) noexcept:
    cdef uint64_t host = host_address(m, address, WRITE)
    if host:
        store16(host, value)

cdef inline void store_u8(Memory m, uint64_t address, uint8_t value) noexcept:
    cdef uint64_t host = host_address(m, address, WRITE)
    if host:
        store8(host, value)
