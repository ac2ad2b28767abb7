# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint64_t
from memtwin.hostmem cimport copy, load8, load64, store8, store64
from memtwin.kernel.flags cimport *
from memtwin.kernel.mapping cimport (do_munmap, fits_right, merge_new, set_flags, start_gap, take_chain, unmap_range,
                                     unmapped_area)
from memtwin.kernel.mm cimport Mm
from memtwin.kernel.vma cimport Vma

@cython.locals(vma=Vma, fixed=bint)
cdef int64_t do_mremap(Mm mm, uint64_t address, uint64_t old_length, uint64_t new_length, int64_t flags,
                       uint64_t new_address) noexcept
@cython.locals(following=Vma, joined=bint)
cdef bint expand_in_place(Mm mm, Vma vma, uint64_t address, uint64_t old_length, uint64_t new_length)
@cython.locals(following=Vma, previous=Vma, moved=Vma)
cdef int64_t move_vma(Mm mm, Vma vma, uint64_t address, uint64_t old_length, uint64_t new_length,
                      uint64_t new_address, int64_t flags)
cdef void move_pages(Mm mm, uint64_t start, uint64_t end, uint64_t to) noexcept
cdef void move_entry(Mm mm, uint64_t source, uint64_t target, uint64_t address, uint64_t to) noexcept
