# SPDX-License-Identifier: LGPL-2.1-or-later
from libc.stdint cimport uint64_t
from memtwin.hostmem cimport copy, load8, load16, load64, store8, store64
from memtwin.kernel.flags cimport *
from memtwin.kernel.frames cimport Frames
from memtwin.kernel.pagetable cimport PageTable
from memtwin.kernel.window cimport Window
from memtwin.memory cimport READ, WRITE

cdef class PageBytes(Window):
    cdef readonly PageTable pages
    cdef readonly Frames frames

    cdef void leave_window(self, uint64_t pfn, uint64_t address) noexcept
    cdef void unfold(self, uint64_t start) noexcept
    cdef void grant(self, uint64_t address, uint64_t pte) noexcept
    cdef uint64_t claim(self, uint64_t address, uint64_t pfn) noexcept
    cdef void bring_bytes(self, uint64_t old, uint64_t new, uint64_t address) noexcept
    cdef void move_bytes(self, uint64_t pfn, uint64_t address, uint64_t to) noexcept
