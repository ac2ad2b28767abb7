# SPDX-License-Identifier: LGPL-2.1-or-later
cimport cython
from libc.stdint cimport int64_t, uint64_t
from memtwin.hostmem cimport load16, load32, load64, store64
from memtwin.kernel.flags cimport *
from memtwin.kernel.mm cimport Mm

cdef extern from *:
    """
    #define PM_PRESENT (1ULL << 63)
    #define PM_SWAP (1ULL << 62)
    #define PM_FILE (1ULL << 61)
    #define PM_GUARD (1ULL << 58)
    #define PM_EXCLUSIVE (1ULL << 56)
    """
    const uint64_t PM_PRESENT, PM_SWAP, PM_FILE, PM_GUARD, PM_EXCLUSIVE

cdef enum:
    PSS_SHIFT = 12
    SWAP_TYPE_BITS = 5
    FILE_KIND = 0
    SHMEM_KIND = 1

@cython.final
cdef class Census:
    cdef public uint64_t resident, anonymous, huge, huge_file, lazyfree, referenced
    cdef public uint64_t pss, pss_dirty, pss_anon, pss_file, pss_shmem, pss_locked
    cdef public uint64_t shared_clean, shared_dirty, private_clean, private_dirty, swap, swap_pss
    cdef public uint64_t shared_reserved, private_reserved

    @cython.locals(before=uint64_t, huge=bint)
    cpdef void add(self, Mm mm, uint64_t start, uint64_t end, int kind, bint locked)
    @cython.locals(part=uint64_t, size=uint64_t, dirty=bint, pfn=uint64_t)
    cdef void add_entry(self, Mm mm, uint64_t pte, int kind, bint locked)
    @cython.locals(at=uint64_t, entry_at=uint64_t, size=uint64_t, pte=uint64_t)
    cpdef void add_reserved(self, Mm mm, uint64_t start, uint64_t end)
    cdef void add_shared(self, uint64_t size, bint shared, bint dirty) noexcept

@cython.locals(huge=bint, reserved=bint, pte=uint64_t)
cpdef void pagemap_entries(Mm mm, uint64_t start, uint64_t pages, uint64_t room)
@cython.locals(entry=uint64_t, pfn=uint64_t)
cdef uint64_t pagemap_entry(Mm mm, uint64_t pte, bint huge) noexcept
