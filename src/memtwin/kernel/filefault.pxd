# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from memtwin.hostmem cimport copy, load16, load32, load64, store16, store32, store64
from memtwin.kernel.anon cimport new_anon_page, prepare_anon
from memtwin.kernel.files cimport Inode
from memtwin.kernel.flags cimport *
from memtwin.kernel.frames cimport Frames
from memtwin.kernel.mm cimport Mm
from memtwin.kernel.vma cimport Vma
from memtwin.memory cimport READ, WRITE

@cython.locals(inode=Inode, pfn=int64_t)
cdef int file_fault(Mm mm, Vma vma, uint64_t address, int access) noexcept
cdef int64_t obtain(Mm mm, Vma vma, uint64_t index)
@cython.locals(tableless=cython.bint)
cdef bint fault_around(Mm mm, Vma vma, uint64_t address, uint64_t index)
cdef bint gives_up_at_end(Mm mm, Vma vma)
cdef int map_copy(Mm mm, Vma vma, uint64_t address, uint64_t pfn) noexcept
cdef bint map_file_page(Mm mm, Vma vma, uint64_t address, uint64_t pfn, int access) noexcept
cdef enum:
    READ_AROUND = 32

cdef void shared_write(Mm mm, Vma vma, uint64_t at, uint64_t address) noexcept
