# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint64_t
from memtwin.kernel.flags cimport VM_ACCOUNT, VM_GROWSDOWN, VM_HUGETLB, VM_NORESERVE, VM_SHARED, VM_WRITE
from memtwin.kernel.mm cimport Mm
from memtwin.kernel.vma cimport Vma

cdef bint is_data(uint64_t flags) noexcept
cdef bint is_accountable(uint64_t flags) noexcept
cdef bint may_expand(Mm mm, uint64_t flags, int64_t pages) noexcept
cdef bint may_commit(Mm mm, int64_t pages) noexcept
@cython.locals(vma=Vma, total=int64_t, start=uint64_t, end=uint64_t)
cdef int64_t mapped_within(Mm mm, uint64_t start, uint64_t end, uint64_t flags) noexcept
cdef bint may_map(Mm mm, uint64_t start, uint64_t end, uint64_t flags, bint unnamed) noexcept
cdef bint may_break(Mm mm, uint64_t new_break) noexcept
cdef bint may_change(Mm mm, uint64_t old_flags, uint64_t new_flags, int64_t pages) noexcept
