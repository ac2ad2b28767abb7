# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t
from memtwin.kernel.files cimport File, Inode
from memtwin.kernel.flags cimport FILE_ZERO
from memtwin.kernel.frames cimport Frames

cdef class AnonVma:
    cdef readonly uint32_t number
    cdef readonly Frames frames
    cdef readonly dict vmas
    cdef readonly AnonVma parent
    cdef readonly int children, active

    cdef void descend(self, AnonVma parent)
    cdef void forget(self)

@cython.final
@cython.freelist(256)
cdef class Vma:
    cdef readonly uint64_t start, end, flags, pgoff
    cdef readonly object file
    cdef readonly Inode inode
    cdef readonly bint anonymous
    cdef readonly AnonVma anon
    cdef readonly tuple chain
    cdef readonly object space
    cdef public object promise
    cdef public object label
    cdef readonly Vma left, right, parent, previous, next
    cdef readonly uint64_t gap, widest
    cdef readonly uint32_t priority

    cdef Vma part(self, uint64_t start, uint64_t end)
    cdef uint64_t page_offset(self, uint64_t address, int page_shift) noexcept
    cdef void join(self, tuple chain, AnonVma anon)
    @cython.locals(anon=AnonVma)
    cdef void leave(self)

@cython.locals(vma=Vma, opened=File)
cdef Vma new_vma(uint64_t start, uint64_t end, uint64_t flags, uint64_t pgoff, object file, object space)

@cython.final
cdef class VmaTree:
    cdef readonly int64_t count
    cdef readonly Vma root, first, last
    cdef uint32_t seed

    @cython.locals(node=Vma, found=Vma)
    cdef Vma find(self, uint64_t address)
    cdef void insert(self, Vma vma)
    @cython.locals(parent=Vma, child=Vma, after=Vma)
    cdef void remove(self, Vma vma)
    cdef void resize(self, Vma vma, uint64_t start, uint64_t end)
    cdef uint64_t highest_gap(self, uint64_t length, uint64_t low, uint64_t high) noexcept
    cdef uint64_t lowest_gap(self, uint64_t length, uint64_t low, uint64_t high) noexcept
    cdef uint64_t highest_in(self, Vma node, uint64_t length, uint64_t low, uint64_t high) noexcept
    cdef uint64_t lowest_in(self, Vma node, uint64_t length, uint64_t low, uint64_t high) noexcept
    @cython.locals(previous=Vma)
    cdef void link(self, Vma vma, Vma before)
    cdef void rotate_up(self, Vma vma)
    cdef void replace(self, Vma vma, Vma other)
    cdef void set_gap(self, Vma vma)
    @cython.locals(node=Vma)
    cdef void widen(self, Vma vma)
