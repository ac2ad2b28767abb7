# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint64_t
from memtwin.kernel.files cimport File
from memtwin.kernel.flags cimport *
from memtwin.kernel.limits cimport is_accountable, may_break, may_commit, may_expand, may_map
from memtwin.kernel.mapping cimport fits_left, map_region, unmap_range
from memtwin.kernel.mm cimport Mm
from memtwin.kernel.place cimport start_gap, unmapped_area
from memtwin.kernel.populate cimport populate
from memtwin.kernel.protect cimport key_for
from memtwin.kernel.vma cimport Vma, new_vma
from memtwin.kernel.window cimport ALL_ONES

@cython.locals(vma=Vma, bits=int64_t, place=int64_t, page=uint64_t, error=int64_t)
cdef int64_t do_mmap(Mm mm, uint64_t address, uint64_t length, int64_t prot, int64_t flags, object file,
                     uint64_t offset) noexcept
cdef int64_t choose_place(Mm mm, uint64_t address, uint64_t length, int64_t flags, object file, uint64_t pgoff)
@cython.locals(kind=int64_t, opened=File)
cdef int64_t mapping_flags(Mm mm, int64_t prot, int64_t flags, object file)
cdef int64_t file_flags(int64_t bits, int64_t kind, int64_t prot, int64_t flags, object file)
cdef bint lock_fits(Mm mm, uint64_t flags, uint64_t length) noexcept
@cython.locals(vma=Vma, following=Vma, previous=Vma)
cdef uint64_t do_brk(Mm mm, uint64_t address) noexcept
@cython.locals(following=Vma)
cdef bint extend_heap(Mm mm, uint64_t start, uint64_t end)
@cython.locals(following=Vma, previous=Vma, flags=uint64_t, pages=int64_t)
cdef bint add_zeros(Mm mm, uint64_t start, uint64_t end, uint64_t execute, uint64_t floor)
cdef int64_t map_zeros(Mm mm, uint64_t start, uint64_t length, uint64_t execute)
