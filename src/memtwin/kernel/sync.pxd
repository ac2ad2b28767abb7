# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint16_t, uint64_t
from memtwin.hostmem cimport load16, load64, store8, store16, store64
from memtwin.kernel.files cimport Inode
from memtwin.kernel.flags cimport *
from memtwin.kernel.hugetlb cimport index_of, pool_of
from memtwin.kernel.mm cimport Mm
from memtwin.kernel.vma cimport Vma
from memtwin.kernel.window cimport ALL_ONES

@cython.locals(vma=Vma)
cdef int64_t do_msync(Mm mm, uint64_t address, uint64_t length, int64_t flags) noexcept
cdef void write_back(Inode inode, uint64_t first, uint64_t last)
@cython.locals(vma=Vma, mm=Mm)
cdef void make_clean(Inode inode, uint64_t page, uint64_t pfn)
@cython.locals(vma=Vma)
cdef int64_t do_mincore(Mm mm, list seen, uint64_t address, uint64_t length)
cdef bint cached_unseen(Mm mm, Vma vma, uint64_t address)
cdef bytearray core_bytes(Mm mm, Vma vma, uint64_t start, uint64_t end)
