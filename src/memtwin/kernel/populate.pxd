# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint16_t, uint64_t
from memtwin.hostmem cimport load16, store16
from memtwin.kernel.fault cimport fault_page
from memtwin.kernel.flags cimport *
from memtwin.kernel.mm cimport Mm
from memtwin.kernel.vma cimport Vma
from memtwin.memory cimport READ, WRITE

@cython.locals(vma=Vma)
cdef int64_t populate(Mm mm, uint64_t start, uint64_t end, bint ignore_errors) noexcept
cdef int64_t populate_vma(Mm mm, Vma vma, uint64_t start, uint64_t end) noexcept
cdef int64_t fault_in(Mm mm, Vma vma, uint64_t start, uint64_t end, int access) noexcept
@cython.locals(vma=Vma)
cdef int64_t advise_populate(Mm mm, uint64_t start, uint64_t end, int access) noexcept
