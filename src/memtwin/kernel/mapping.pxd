# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint64_t
from memtwin.kernel.flags cimport *
from memtwin.kernel.hugetlb cimport cuts
from memtwin.kernel.limits cimport is_accountable, may_map
from memtwin.kernel.mm cimport Mm
from memtwin.kernel.vma cimport AnonVma, Vma, VmaTree, new_vma

cdef int64_t do_munmap(Mm mm, uint64_t address, uint64_t length) noexcept
@cython.locals(vma=Vma, following=Vma, previous=Vma)
cdef Vma map_region(Mm mm, uint64_t start, uint64_t end, uint64_t flags, uint64_t pgoff, object file)
@cython.locals(left=bint, right=bint, pgoff_end=uint64_t)
cdef Vma merge_new(Mm mm, Vma previous, Vma next, uint64_t start, uint64_t end, uint64_t flags, uint64_t pgoff,
                   object file, Vma source)
cdef bint fits_left(Mm mm, Vma left, uint64_t start, uint64_t flags, uint64_t pgoff, object file, Vma source,
                     object label)
cdef bint fits_right(Mm mm, Vma right, uint64_t end, uint64_t flags, uint64_t pgoff_end, object file, Vma source,
                      object label)
cdef bint named_alike(Vma vma, object label)
cdef bint anon_fits(Vma target, Vma source)
cdef bint anon_alike(Vma one, Vma other)
cdef void take_chain(Vma target, Vma source)
cdef void split(Mm mm, Vma vma, uint64_t address)
cdef Vma modify(Mm mm, Vma vma, uint64_t start, uint64_t end, uint64_t flags)
@cython.locals(left=bint, right=bint, at_start=bint, at_end=bint, pgoff=uint64_t, pgoff_end=uint64_t, previous=Vma,
               following=Vma)
cdef Vma modify_named(Mm mm, Vma vma, uint64_t start, uint64_t end, uint64_t flags, object label)
cdef void set_flags(Mm mm, Vma vma, uint64_t flags)
@cython.locals(vma=Vma)
cdef bint cut_at(Mm mm, uint64_t address)
cdef int64_t split_reserved(Mm mm, Vma vma, uint64_t start, uint64_t end)
@cython.locals(vma=Vma, following=Vma, above=Vma, below=Vma)
cdef int64_t unmap_range(Mm mm, uint64_t start, uint64_t end)
