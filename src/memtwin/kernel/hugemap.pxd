# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint64_t
from memtwin.kernel.files cimport File
from memtwin.kernel.flags cimport *
from memtwin.kernel.hugepool cimport HugeInode, HugePool, Promise
from memtwin.kernel.limits cimport may_map
from memtwin.kernel.mapping cimport unmap_range
from memtwin.kernel.mm cimport Mm
from memtwin.kernel.newmap cimport lock_fits, mapping_flags
from memtwin.kernel.place cimport highest_area, start_gap
from memtwin.kernel.populate cimport populate
from memtwin.kernel.vma cimport Vma, new_vma
from memtwin.kernel.window cimport ALL_ONES

@cython.locals(pool=HugePool, place=int64_t, bits=int64_t, pgoff=uint64_t)
cdef int64_t map_reserved(Mm mm, uint64_t address, uint64_t length, int64_t prot, int64_t flags, object file,
                          uint64_t offset) noexcept
@cython.locals(vma=Vma)
cdef int64_t choose_place(Mm mm, uint64_t address, uint64_t length, int64_t flags, HugePool pool)
@cython.locals(vma=Vma)
cdef bint is_free(Mm mm, uint64_t address, uint64_t length)
@cython.locals(vma=Vma)
cdef list held_files(Mm mm, uint64_t start, uint64_t end)
cdef void let_go(list files)
@cython.locals(inode=HugeInode, vma=Vma, promise=Promise, first=uint64_t, last=uint64_t)
cdef int64_t add_reserved(Mm mm, uint64_t start, uint64_t end, uint64_t flags, uint64_t pgoff, HugePool pool)
