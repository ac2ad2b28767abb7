# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport uint32_t, uint64_t
from memtwin.hostmem cimport copy, load8, load16, load32, load64, store32, store64
from memtwin.kernel.flags cimport *
from memtwin.kernel.frames cimport Frames, born
from memtwin.kernel.mm cimport Mm
from memtwin.kernel.policies.policy cimport ANON
from memtwin.kernel.swap cimport Swap
from memtwin.kernel.vma cimport Vma
from memtwin.memory cimport WRITE

@cython.locals(exclusive=bint, pte=uint64_t, slot=uint64_t, pfn=uint64_t)
cdef int swap_in(Mm mm, Vma vma, uint64_t at, uint64_t address, int access) noexcept
@cython.locals(pfn=uint64_t)
cdef uint64_t read_slot(Mm mm, uint64_t slot, uint64_t address) noexcept
