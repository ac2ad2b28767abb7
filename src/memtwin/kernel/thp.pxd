# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from memtwin.hostmem cimport fill, load8, load16, load64, store8, store16, store32, store64
from memtwin.kernel.anon cimport prepare_anon
from memtwin.kernel.flags cimport *
from memtwin.kernel.folio cimport Folio
from memtwin.kernel.frames cimport Frames, born
from memtwin.kernel.mm cimport Mm
from memtwin.kernel.policies.policy cimport ANON
from memtwin.kernel.swap cimport Swap
from memtwin.kernel.vma cimport Vma
from memtwin.memory cimport READ, WRITE

cdef int huge_fault(Mm mm, Vma vma, uint64_t address, int access) noexcept
cdef void map_zeros(Mm mm, uint64_t start) noexcept
@cython.locals(pfn=uint64_t)
cdef bint map_huge(Mm mm, Vma vma, uint64_t start) noexcept
@cython.locals(folio=Folio)
cdef bint huge_write(Mm mm, Vma vma, uint64_t address) noexcept
cdef void own_huge(Mm mm, uint64_t start) noexcept
@cython.locals(folio=Folio)
cdef bint reusable_frame(Mm mm, uint64_t pfn) noexcept
