# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint64_t
from memtwin.hostmem cimport load64, store64
from memtwin.kernel.flags cimport *
from memtwin.kernel.hugetlb cimport protect_reserved
from memtwin.kernel.limits cimport may_change
from memtwin.kernel.mapping cimport modify, split_reserved
from memtwin.kernel.mm cimport Mm
from memtwin.kernel.populate cimport populate_vma
from memtwin.kernel.vma cimport Vma
from memtwin.kernel.window cimport ALL_ONES

@cython.locals(vma=Vma)
cdef int64_t do_mprotect(Mm mm, uint64_t address, uint64_t length, int64_t prot) noexcept
@cython.locals(old=uint64_t, flags=uint64_t, partly=bint)
cdef int64_t protect_vma(Mm mm, Vma vma, uint64_t start, uint64_t end, int64_t prot)
cdef uint64_t key_for(Mm mm, int64_t prot)
cdef uint64_t protected(Mm mm, Vma vma, uint64_t pte) noexcept
cdef void change_protection(Mm mm, Vma vma, uint64_t start, uint64_t end) noexcept
