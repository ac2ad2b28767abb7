# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint64_t
from memtwin.kernel.flags cimport *
from memtwin.kernel.mm cimport Mm
from memtwin.kernel.vma cimport AnonVma, Vma, VmaTree, new_vma

@cython.locals(vma=Vma, bits=uint64_t, area=int64_t, page=uint64_t)
cdef int64_t do_mmap(Mm mm, uint64_t address, uint64_t length, int64_t prot, int64_t flags, object file,
                     uint64_t offset) noexcept
cdef int64_t do_munmap(Mm mm, uint64_t address, uint64_t length) noexcept
@cython.locals(vma=Vma, following=Vma, previous=Vma)
cdef uint64_t do_brk(Mm mm, uint64_t address) noexcept
cdef int64_t unmapped_area(Mm mm, uint64_t address, uint64_t length, object file, uint64_t pgoff, bint anonymous)
@cython.locals(vma=Vma)
cdef int64_t plain_area(Mm mm, uint64_t address, uint64_t length)
cdef uint64_t start_gap(Mm mm, Vma vma) noexcept
@cython.locals(vma=Vma, following=Vma, previous=Vma)
cdef Vma map_region(Mm mm, uint64_t start, uint64_t end, uint64_t flags, uint64_t pgoff, object file)
@cython.locals(left=bint, right=bint, pgoff_end=uint64_t)
cdef Vma merge_new(Mm mm, Vma previous, Vma next, uint64_t start, uint64_t end, uint64_t flags, uint64_t pgoff,
                   object file, Vma source)
cdef bint fits_left(Mm mm, Vma left, uint64_t start, uint64_t flags, uint64_t pgoff, object file, Vma source)
cdef bint fits_right(Mm mm, Vma right, uint64_t end, uint64_t flags, uint64_t pgoff_end, object file, Vma source)
cdef bint anon_fits(Vma target, Vma source)
cdef bint anon_alike(Vma one, Vma other)
cdef void take_chain(Vma target, Vma source)
cdef void split(Mm mm, Vma vma, uint64_t address)
@cython.locals(left=bint, right=bint, at_start=bint, at_end=bint, pgoff=uint64_t, pgoff_end=uint64_t, previous=Vma,
               following=Vma)
cdef Vma modify(Mm mm, Vma vma, uint64_t start, uint64_t end, uint64_t flags)
cdef void set_flags(Mm mm, Vma vma, uint64_t flags)
@cython.locals(vma=Vma, following=Vma, above=Vma, below=Vma)
cdef void unmap_range(Mm mm, uint64_t start, uint64_t end)
