# SPDX-License-Identifier: LGPL-2.1-or-later
from libc.stdint cimport int64_t, uint64_t
from memtwin.hostmem cimport load8, load16, load32, load64, store32, store64
from memtwin.kernel.addrspace cimport AddressSpace
from memtwin.libc.malloc cimport Malloc
from memtwin.verify.libc.codes cimport *

cdef enum:
    OPERATION_BYTES = 24
    ENTRY_BYTES = 16

cdef class Performer:
    cdef public Malloc malloc
    cdef public AddressSpace space
    cdef readonly object column, entries
    cdef public object slots
    cdef uint64_t rows, log
    cdef uint64_t[::1] pointers
    cdef readonly uint64_t word_mask

    cpdef int64_t perform(self, int64_t start, int64_t stop)
    cdef bint call(self, uint64_t row, int op, uint64_t at) noexcept
    cdef uint64_t keep(self, uint64_t slot, uint64_t pointer) noexcept
    cdef uint64_t resize(self, uint64_t row, int op, uint64_t slot) noexcept
    cdef uint64_t aligned(self, uint64_t row, int op) noexcept
    cdef void write(self, uint64_t row, uint64_t slot) noexcept
