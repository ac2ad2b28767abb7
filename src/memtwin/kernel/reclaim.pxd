# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from memtwin.hostmem cimport discard, load8, load16, load32, load64, store8, store16, store32, store64
from memtwin.kernel.flags cimport *
from memtwin.kernel.frames cimport Frames
from memtwin.kernel.folio cimport Folio
from memtwin.kernel.group cimport Group
from memtwin.kernel.lazyfree cimport split_folio
from memtwin.kernel.mm cimport Mm
from memtwin.kernel.policies.policy cimport ANON, EXECUTABLE, FILE, KINDS, Pages, Policy
from memtwin.kernel.swap cimport Swap
from memtwin.kernel.vma cimport Vma

cdef enum:
    CLUSTER = 32
    HOPELESS = 16
    IS_LOCKED, IS_YOUNG, IS_DIRTY, SPLIT, UNMAP

cdef class FramePages(Pages):
    cdef readonly Frames frames

    cdef int young(self, uint64_t page) noexcept
    @cython.locals(vma=Vma, mm=Mm)
    cdef int visit(self, uint64_t pfn, int action, uint64_t entry)

cdef int visit_entry(Mm mm, Vma vma, uint64_t at, uint64_t address, int action, uint64_t entry) noexcept
cdef void unmap_entry(Mm mm, uint64_t at, uint64_t address, uint64_t entry) noexcept

@cython.final
cdef class Reclaim:
    cdef readonly Frames frames
    cdef readonly Swap swap
    cdef readonly FramePages pages
    cdef readonly str policy_name
    cdef readonly int64_t seed, failures
    cdef readonly int64_t kswapd_steal, direct_steal, stalls, limit_steal
    cdef readonly uint64_t low

    cpdef bint relieve(self, Mm mm)
    cpdef bint relieve_group(self, Mm mm, Group group)
    cdef bint relieve_machine(self, Mm mm)
    @cython.locals(group=Group)
    cdef int64_t shrink_all(self, int64_t wanted)
    @cython.locals(page=uint64_t, gone=int64_t)
    cpdef int64_t shrink(self, Group group, int64_t wanted)
    @cython.locals(flags=uint64_t)
    cpdef int64_t evict(self, uint64_t pfn)
    @cython.locals(first=uint64_t, page=uint64_t, flags=uint64_t, dirty=uint64_t, group=Group)
    cdef int64_t evict_huge(self, uint64_t pfn)
    @cython.locals(page=uint64_t, folio=Folio)
    cdef uint64_t dissolve(self, uint64_t first, uint64_t count)
    @cython.locals(first=uint64_t, pfn=uint64_t, folio=Folio)
    cdef void part(self, Mm mm, uint64_t address, uint64_t start, uint64_t end)
    @cython.locals(flags=uint64_t, folio=Folio, group=Group)
    cdef void advise_page(self, uint64_t pfn, bint out)
    cdef bint evict_anon(self, uint64_t pfn, uint64_t flags)
    cdef bint evict_file(self, uint64_t pfn, uint64_t flags)
    @cython.locals(address=uint64_t)
    cpdef void advise(self, Mm mm, uint64_t start, uint64_t end, bint out)
    cdef int kinds(self) noexcept
