# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint64_t
from memtwin.kernel.files cimport File
from memtwin.kernel.flags cimport *
from memtwin.kernel.mapping cimport modify_named
from memtwin.kernel.mm cimport Mm
from memtwin.kernel.vma cimport Vma
from memtwin.kernel.window cimport ALL_ONES

cdef bint is_shared_memory(Vma vma)
@cython.locals(vma=Vma, shared=bint, page=uint64_t, rounded=uint64_t, end=uint64_t, stop=uint64_t)
cdef int64_t set_anon_name(Mm mm, uint64_t address, uint64_t length, object name) noexcept
