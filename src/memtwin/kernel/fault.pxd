# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t
from memtwin.hostmem cimport copy, fill, load8, load16, load32, load64, store8, store16, store32, store64
from memtwin.kernel.anon cimport new_anon_page, prepare_anon
from memtwin.kernel.filefault cimport file_fault, shared_write
from memtwin.kernel.flags cimport *
from memtwin.kernel.frames cimport Frames
from memtwin.kernel.growth cimport grown
from memtwin.kernel.hugetlb cimport reserved_fault
from memtwin.kernel.mm cimport Mm, is_short
from memtwin.kernel.thp cimport huge_fault, huge_write, reusable_frame
from memtwin.kernel.swapin cimport swap_in
from memtwin.kernel.vma cimport AnonVma, Vma
from memtwin.kernel.window cimport ALL_ONES
from memtwin.memory cimport READ, WRITE

@cython.locals(vma=Vma)
cdef int handle_fault(Mm mm, uint64_t address, int access) noexcept
cdef int fault_page(Mm mm, Vma vma, uint64_t address, int access) noexcept
cdef uint64_t host_for(Mm mm, uint64_t address, int access) noexcept
cdef int fault_entry(Mm mm, Vma vma, uint64_t at, uint64_t address, int access) noexcept
cdef int fault_missing(Mm mm, Vma vma, uint64_t at, uint64_t address, int access) noexcept
cdef int fault_write_protected(Mm mm, Vma vma, uint64_t at, uint64_t address) noexcept
cdef int copy_page(Mm mm, Vma vma, uint64_t at, uint64_t address) noexcept
cdef void tell_copy(Mm mm, uint64_t pte, uint64_t pfn, uint64_t address) noexcept
