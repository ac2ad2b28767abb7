# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint64_t
from memtwin.kernel.files cimport aligned_to_huge
from memtwin.kernel.flags cimport *
from memtwin.kernel.mm cimport Mm
from memtwin.kernel.vma cimport Vma

cdef uint64_t start_gap(Mm mm, Vma vma) noexcept
@cython.locals(area=int64_t, size=uint64_t, first=uint64_t)
cdef int64_t unmapped_area(Mm mm, uint64_t address, uint64_t length, object file, uint64_t pgoff, bint shared)
cdef bint aligns(Mm mm, uint64_t length)
@cython.locals(vma=Vma)
cdef int64_t plain_area(Mm mm, uint64_t address, uint64_t length)
@cython.locals(vma=Vma, room=uint64_t, high=uint64_t, end=uint64_t)
cdef int64_t highest_area(Mm mm, uint64_t length, uint64_t alignment)
