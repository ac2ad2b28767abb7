# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport uint64_t
from memtwin.hostmem cimport load32, load64
from memtwin.kernel.addrspace cimport AddressSpace
from memtwin.kernel.flags cimport PTE_HUGE, PTE_MAPPED, PTE_ZERO

@cython.locals(place=uint64_t, inside=uint64_t, entry=uint64_t, frame=uint64_t, home=uint64_t)
cpdef uint64_t peek(AddressSpace space, uint64_t address, uint64_t word) noexcept
@cython.locals(found=list, at=uint64_t, size=uint64_t, count=uint64_t)
cpdef list chunk_starts(AddressSpace space, uint64_t start, uint64_t top, uint64_t end, uint64_t most,
                        uint64_t word)
@cython.locals(found=list, at=uint64_t, count=uint64_t)
cpdef list ring(AddressSpace space, uint64_t head, uint64_t most, uint64_t word)
