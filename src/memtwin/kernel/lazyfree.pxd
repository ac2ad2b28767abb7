# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint16_t, uint64_t
from memtwin.hostmem cimport load16, load64, same, store16, store64
from memtwin.kernel.flags cimport *
from memtwin.kernel.folio cimport Folio
from memtwin.kernel.mm cimport Mm
from memtwin.kernel.vma cimport Vma

cdef void free_lazily(Mm mm, Vma vma, uint64_t start, uint64_t end)
@cython.locals(folio=Folio)
cdef bint free_huge(Mm mm, Vma vma, uint64_t start, uint64_t end)
@cython.locals(folio=Folio)
cdef bint free_large(Mm mm, Vma vma, uint64_t address, uint64_t end, uint64_t pfn)
cdef bint free_small(Mm mm, uint64_t pfn) noexcept
@cython.locals(folio=Folio)
cdef void split_folio(Mm mm, Vma vma, uint64_t pfn)
cdef void make_lazy(Mm mm, uint64_t at, uint64_t address) noexcept
cdef bint all_zero(Mm mm, uint64_t pfn) noexcept
