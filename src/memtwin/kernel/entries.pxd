# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport uint64_t
from memtwin.hostmem cimport load64
from memtwin.kernel.pagetable cimport PageTable

@cython.locals(at=uint64_t, page=uint64_t, table=uint64_t, stop=uint64_t, entry_at=uint64_t)
cpdef list touched(PageTable pages, uint64_t start, uint64_t end)
@cython.locals(at=uint64_t, page=uint64_t, table=uint64_t, stop=uint64_t, entry_at=uint64_t, end=uint64_t,
               entry=uint64_t, number=uint64_t)
cpdef list places(PageTable pages, uint64_t bits, uint64_t first, uint64_t last)
