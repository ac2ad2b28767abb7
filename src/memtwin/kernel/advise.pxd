# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint64_t
from memtwin.hostmem cimport load64
from memtwin.kernel.flags cimport *
from memtwin.kernel.guard cimport install_guards, remove_guards
from memtwin.kernel.hugetlb cimport cuts, pool_of
from memtwin.kernel.lazyfree cimport free_lazily
from memtwin.kernel.mapping cimport modify, split_reserved
from memtwin.kernel.mm cimport Mm
from memtwin.kernel.populate cimport advise_populate
from memtwin.kernel.vma cimport Vma
from memtwin.kernel.window cimport ALL_ONES
from memtwin.memory cimport READ, WRITE

@cython.locals(vma=Vma)
cdef int64_t do_madvise(Mm mm, uint64_t address, uint64_t length, int64_t advice) noexcept
cdef bint known(int64_t advice) noexcept
cdef int64_t advise_vma(Mm mm, Vma vma, uint64_t start, uint64_t end, int64_t advice)
@cython.locals(flags=int64_t)
cdef int64_t advise_reserved(Mm mm, Vma vma, uint64_t start, uint64_t end, int64_t advice)
cdef int64_t give_back(Mm mm, Vma vma, uint64_t start, uint64_t end, int64_t advice)
cdef int64_t advised_flags(Vma vma, int64_t advice)
cdef void free_whole_tables(Mm mm, uint64_t start, uint64_t end) noexcept
cdef bint is_empty(uint64_t table, int entries) noexcept
