# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t
from memtwin.hostmem cimport fill, load8, load64, store16, store32, store64
from memtwin.kernel.anon cimport prepare_anon
from memtwin.kernel.fault cimport fault_entry, fault_missing, fault_page, handle_fault
from memtwin.kernel.flags cimport *
from memtwin.kernel.frames cimport Frames
from memtwin.kernel.mm cimport TOUCHED_WORD, Mm, is_short
from memtwin.kernel.policies.policy cimport ANON
from memtwin.kernel.vma cimport Vma
from memtwin.memory cimport READ, WRITE

@cython.locals(vma=Vma, address=uint64_t, stop=uint64_t, code=cython.int)
cdef int touch_range(Mm mm, uint64_t start, uint64_t end, int access) noexcept
cdef int touch_vma(Mm mm, Vma vma, uint64_t start, uint64_t end, int access) noexcept
cdef int touch_each(Mm mm, Vma vma, uint64_t start, uint64_t end, int access) noexcept
cdef int stopped(Mm mm, int code, uint64_t address, int access) noexcept
cdef uint64_t untouched(Mm mm, uint64_t start, uint64_t end, int access) noexcept
cdef bint fill_empty(Mm mm, Vma vma, uint64_t at, uint64_t start, uint64_t count) noexcept
