# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint64_t
from memtwin.kernel.flags cimport *
from memtwin.kernel.mapping cimport modify
from memtwin.kernel.mm cimport Mm
from memtwin.kernel.populate cimport populate
from memtwin.kernel.vma cimport Vma
from memtwin.kernel.window cimport ALL_ONES

cdef int64_t do_mlock(Mm mm, uint64_t address, uint64_t length, uint64_t bits) noexcept
cdef int64_t do_munlock(Mm mm, uint64_t address, uint64_t length) noexcept
@cython.locals(vma=Vma)
cdef int64_t change_locks(Mm mm, uint64_t start, uint64_t end, uint64_t bits) noexcept
@cython.locals(vma=Vma)
cdef int64_t locked_within(Mm mm, uint64_t start, uint64_t end) noexcept
cdef int64_t do_mlockall(Mm mm, int64_t flags) noexcept
@cython.locals(vma=Vma)
cdef void lock_all(Mm mm, uint64_t bits) noexcept
