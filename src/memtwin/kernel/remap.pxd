# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint64_t
from memtwin.kernel.flags cimport *
from memtwin.kernel.hugetlb cimport cuts, move_reserved, pool_of
from memtwin.kernel.limits cimport may_commit, may_expand
from memtwin.kernel.mapping cimport (do_munmap, fits_right, merge_new, take_chain)
from memtwin.kernel.mm cimport Mm
from memtwin.kernel.movepages cimport move_pages
from memtwin.kernel.newmap cimport lock_fits
from memtwin.kernel.place cimport unmapped_area
from memtwin.kernel.populate cimport populate
from memtwin.kernel.vma cimport Vma
from memtwin.kernel.window cimport ALL_ONES

@cython.locals(vma=Vma, result=int64_t)
cdef int64_t do_mremap(Mm mm, uint64_t address, uint64_t old_length, uint64_t new_length, int64_t flags,
                       uint64_t new_address) noexcept
cdef int64_t check_arguments(Mm mm, uint64_t address, uint64_t old_length, uint64_t new_length, int64_t flags,
                             uint64_t new_address) noexcept
@cython.locals(vma=Vma, following=Vma, at=uint64_t, to=uint64_t, length=uint64_t, last_end=uint64_t, moved=int64_t,
               result=int64_t, many=bint)
cdef int64_t move_all(Mm mm, uint64_t start, uint64_t end, uint64_t new_address, int64_t flags)
cdef bint cannot_remap(Vma vma, uint64_t address, uint64_t old_length, uint64_t new_length, uint64_t new_address)
cdef uint64_t whole(Vma vma, uint64_t length)
cdef int64_t check_vma(Mm mm, Vma vma, uint64_t address, uint64_t old_length, uint64_t new_length, int64_t flags)
cdef int64_t resize(Mm mm, Vma vma, uint64_t address, uint64_t old_length, uint64_t new_length, int64_t flags)
@cython.locals(vma=Vma, error=int64_t)
cdef int64_t move_to(Mm mm, uint64_t address, uint64_t old_length, uint64_t new_length, int64_t flags,
                     uint64_t new_address)
cdef int64_t place_for(Mm mm, Vma vma, uint64_t address, uint64_t length, uint64_t hint)
@cython.locals(following=Vma, source=Vma, joined=bint)
cdef bint expand_in_place(Mm mm, Vma vma, uint64_t address, uint64_t old_length, uint64_t new_length)
@cython.locals(following=Vma, previous=Vma, moved=Vma)
cdef int64_t move_vma(Mm mm, Vma vma, uint64_t address, uint64_t old_length, uint64_t new_length,
                      uint64_t new_address, int64_t flags)
cdef uint64_t room_below(Mm mm, Vma vma, Vma moved, uint64_t address, uint64_t length, uint64_t to)
cdef bint free_below(Vma vma, uint64_t length)
cdef void leave_behind(Mm mm, Vma vma, Vma moved, uint64_t start, uint64_t end)
