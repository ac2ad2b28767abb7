# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from memtwin.hostmem cimport fill, load16, load32, load64, store16, store32, store64
from memtwin.kernel.anon cimport prepare_anon
from memtwin.kernel.flags cimport *
from memtwin.kernel.frames cimport Frames
from memtwin.kernel.hugepool cimport HugeInode, HugePool, Promise
from memtwin.kernel.mm cimport Mm
from memtwin.kernel.movepages cimport move_bytes
from memtwin.kernel.pagetable cimport small_pte
from memtwin.kernel.vma cimport Vma
from memtwin.memory cimport READ, WRITE

cdef HugePool pool_of(Vma vma)
cdef uint64_t index_of(Mm mm, Vma vma, uint64_t address)
cdef bint is_owner(Vma vma)
cdef bint cuts(Vma vma, uint64_t address) noexcept
@cython.locals(size=uint64_t, start=uint64_t, at=uint64_t, entry=uint64_t)
cdef int reserved_fault(Mm mm, Vma vma, uint64_t address, int access) noexcept
@cython.locals(inode=HugeInode, pfn=uint64_t, entry=uint64_t, index=uint64_t)
cdef int map_missing(Mm mm, Vma vma, uint64_t at, uint64_t start, int access)
@cython.locals(pool=HugePool, inode=HugeInode, promise=Promise, index=uint64_t)
cdef uint64_t obtain(Mm mm, Vma vma, uint64_t start, bint beside)
@cython.locals(pfn=uint64_t, entry=uint64_t, new=uint64_t, owner=bint, i=uint64_t)
cdef int write_protected(Mm mm, Vma vma, uint64_t at, uint64_t start)
@cython.locals(entry=uint64_t, old=uint64_t, new=uint64_t, pages=uint64_t, i=uint64_t, address=uint64_t)
cdef void copy_reserved(Mm mm, Vma vma, uint64_t at, uint64_t start, uint64_t new)
@cython.locals(other=Vma, space=Mm, at=uint64_t)
cdef void take_from_others(Mm mm, Vma vma, uint64_t start, uint64_t pfn)
cdef void put_in(Mm mm, uint64_t at, uint64_t start, uint64_t entry, uint64_t size)
@cython.locals(i=uint64_t, offset=uint64_t)
cdef void grant_all(Mm mm, uint64_t start, uint64_t entry, uint64_t size) noexcept
@cython.locals(frames=Frames, index=uint64_t, i=uint64_t)
cdef void new_page(Mm mm, Vma vma, uint64_t pfn, uint64_t start, uint16_t kind)
@cython.locals(i=uint64_t)
cdef void count_maps(Mm mm, uint64_t pfn, uint64_t pages, int64_t change) noexcept
@cython.locals(vma=Vma, at=uint64_t)
cdef void unmap_at(Mm mm, uint64_t address)
@cython.locals(pool=HugePool, promise=Promise, entry=uint64_t, pfn=uint64_t, index=uint64_t)
cdef void unmap_reserved(Mm mm, Vma vma, uint64_t at, uint64_t start)
@cython.locals(i=uint64_t, address=uint64_t, piece=uint64_t)
cdef void leave_bytes(Mm mm, uint64_t pfn, uint64_t start, uint64_t size, bint last)
@cython.locals(size=uint64_t, start=uint64_t, at=uint64_t, entry=uint64_t, to=uint64_t, pfn=uint64_t, i=uint64_t)
cdef bint share_reserved(Mm parent, Mm child, Vma vma)
@cython.locals(size=uint64_t, at=uint64_t, pte=uint64_t)
cdef void protect_reserved(Mm mm, Vma vma, uint64_t start, uint64_t end)
@cython.locals(size=uint64_t, pages=uint64_t, source=uint64_t, target=uint64_t, entry=uint64_t,
               offset=uint64_t, i=uint64_t)
cdef void move_reserved(Mm mm, Vma vma, uint64_t start, uint64_t end, uint64_t to)
