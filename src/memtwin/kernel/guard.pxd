# SPDX-License-Identifier: LGPL-2.1-or-later
from libc.stdint cimport int64_t, uint64_t
from memtwin.hostmem cimport load64, store64
from memtwin.kernel.anon cimport prepare_anon
from memtwin.kernel.flags cimport *
from memtwin.kernel.mm cimport Mm
from memtwin.kernel.vma cimport Vma

cdef int64_t install_guards(Mm mm, Vma vma, uint64_t start, uint64_t end)
cdef int64_t remove_guards(Mm mm, Vma vma, uint64_t start, uint64_t end)
