# SPDX-License-Identifier: LGPL-2.1-or-later
from libc.stdint cimport int64_t, uint32_t, uint64_t
from memtwin.hostmem cimport load8
from memtwin.kernel.flags cimport NO_FRAME
from memtwin.kernel.policies.fifo cimport Fifo
from memtwin.kernel.policies.policy cimport KINDS, PageList, Pages, Policy

cdef class Clock(Fifo):
    cpdef uint32_t victim(self, int kinds) noexcept
