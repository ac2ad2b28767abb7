# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t
from memtwin.hostmem cimport copy, fill, load8, load16, load32, load64, store8, store16, store32, store64
from memtwin.kernel.flags cimport *
from memtwin.kernel.frames cimport Frames
from memtwin.kernel.mm cimport TOUCHED_WORD, Mm
from memtwin.kernel.vma cimport AnonVma, Vma
from memtwin.memory cimport READ, WRITE

@cython.locals(vma=Vma)
cdef int handle_fault(Mm mm, uint64_t address, int access) noexcept
cdef uint64_t host_for(Mm mm, uint64_t address, int access) noexcept
@cython.locals(vma=Vma, address=uint64_t, stop=uint64_t, code=cython.int)
cdef int touch_range(Mm mm, uint64_t start, uint64_t end, int access) noexcept
cdef int touch_vma(Mm mm, Vma vma, uint64_t start, uint64_t end, int access) noexcept
cdef uint64_t untouched(Mm mm, uint64_t start, uint64_t end, int access) noexcept
cdef bint fill_empty(Mm mm, Vma vma, uint64_t at, uint64_t start, uint64_t count) noexcept
cdef int fault_entry(Mm mm, Vma vma, uint64_t at, uint64_t address, int access) noexcept
cdef int fault_missing(Mm mm, Vma vma, uint64_t at, uint64_t address, int access) noexcept
cdef int fault_write_protected(Mm mm, Vma vma, uint64_t at, uint64_t address) noexcept
cdef void bring_bytes(Mm mm, uint64_t old, uint64_t new, uint64_t address) noexcept
@cython.locals(anon=AnonVma)
cdef void prepare_anon(Mm mm, Vma vma)
cdef AnonVma reusable(Mm mm, Vma left, Vma right, Vma giver)
cdef void new_anon_page(Mm mm, Vma vma, uint64_t pfn, uint64_t address) noexcept
