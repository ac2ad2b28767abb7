# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport uint64_t
from memtwin.hostmem cimport store16, store32, store64
from memtwin.kernel.flags cimport *
from memtwin.kernel.frames cimport Frames, born
from memtwin.kernel.mm cimport Mm
from memtwin.kernel.policies.policy cimport ANON
from memtwin.kernel.vma cimport AnonVma, Vma

@cython.locals(anon=AnonVma)
cdef void prepare_anon(Mm mm, Vma vma)
cdef AnonVma reusable(Mm mm, Vma left, Vma right, Vma giver)
cdef void new_anon_page(Mm mm, Vma vma, uint64_t pfn, uint64_t address) noexcept
