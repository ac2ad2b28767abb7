# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint64_t
from memtwin.hostmem cimport load8, load16, load32, load64, store8, store16, store32, store64
from memtwin.kernel.flags cimport *
from memtwin.kernel.frames cimport Frames
from memtwin.kernel.hugetlb cimport share_reserved
from memtwin.kernel.limits cimport may_commit
from memtwin.kernel.mm cimport Mm
from memtwin.kernel.pagetable cimport TABLE_BITS, PageTable
from memtwin.kernel.vma cimport AnonVma, Vma, new_vma
from memtwin.memory cimport READ, WRITE

@cython.locals(vma=Vma, pages=int64_t, allowed=bint)
cdef bint may_fork(Mm parent)
@cython.locals(vma=Vma)
cdef bint copy_space(Mm parent, Mm child)
@cython.locals(anon=AnonVma, own=AnonVma)
cdef void inherit(Mm child, Vma vma, Vma new)
cdef bint copy_tables(Mm parent, Mm child, Vma vma, uint64_t source, uint64_t target, int level, uint64_t start,
                      uint64_t end) noexcept
cdef void copy_entries(Mm parent, Mm child, Vma vma, uint64_t source, uint64_t target, uint64_t start,
                       uint64_t end) noexcept
cdef uint64_t share_page(Mm parent, Mm child, Vma vma, uint64_t at, uint64_t address) noexcept
