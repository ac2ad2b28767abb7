# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from memtwin.hostmem cimport load8, load32, load64, store8
from memtwin.kernel.flags cimport NO_FRAME
from memtwin.kernel.policies.policy cimport ANON, KINDS, ON_LIST, Pages, Policy

cdef uint32_t take_victim(Policy policy) noexcept
@cython.locals(resident=int64_t, faults=int64_t)
cdef int64_t run(Policy policy, uint64_t references, uint64_t nexts, int64_t count, uint64_t hits, int64_t frames,
                 bint first_counts) noexcept
