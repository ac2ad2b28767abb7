# SPDX-License-Identifier: LGPL-2.1-or-later
from libc.stdint cimport int64_t, uint64_t
from memtwin.hostmem cimport fill, load8, load64, store8, store64
from memtwin.kernel.flags cimport *
from memtwin.kernel.mm cimport Mm

cdef void move_pages(Mm mm, uint64_t start, uint64_t end, uint64_t to) noexcept
cdef bint move_table(Mm mm, uint64_t start, uint64_t to) noexcept
cdef void move_entries(Mm mm, uint64_t start, uint64_t end, uint64_t to) noexcept
cdef void move_bytes(Mm mm, uint64_t pte, uint64_t address, uint64_t to) noexcept
