# SPDX-License-Identifier: LGPL-2.1-or-later
from libc.stdint cimport int64_t

cdef class Folio:
    cdef readonly int64_t count
    cdef public bint dirty
    cdef readonly bint shared
    cdef int64_t one, other, one_count, other_count

    cdef void add(self, int64_t space, int64_t times) noexcept
    cdef void sub(self, int64_t space, int64_t times) noexcept
    cdef bint maybe_shared(self) noexcept
