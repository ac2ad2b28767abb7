# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint64_t
from memtwin.kernel.anon cimport prepare_anon
from memtwin.kernel.flags cimport *
from memtwin.kernel.limits cimport may_commit, may_expand
from memtwin.kernel.mm cimport Mm
from memtwin.kernel.vma cimport Vma

@cython.locals(previous=Vma)
cpdef int growth(Mm mm, Vma vma, uint64_t address)
@cython.locals(answer=int)
cdef Vma grown(Mm mm, Vma vma, uint64_t address)
