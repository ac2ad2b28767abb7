# SPDX-License-Identifier: LGPL-2.1-or-later
"""The kernel's own numbers, under its own names (asm-generic/mman.h, errno.h, linux/mm.h, asm/pgtable_types.h).

This file is never compiled: compiled rooms cimport flags.pxd, which has the same names and numbers; a test compares
the two.
"""

from __future__ import annotations

# mmap and mprotect
PROT_READ, PROT_WRITE, PROT_EXEC, PROT_SEM = 1, 2, 4, 8
PROT_GROWSDOWN, PROT_GROWSUP = 0x01000000, 0x02000000
MAP_SHARED, MAP_PRIVATE, MAP_SHARED_VALIDATE, MAP_TYPE = 1, 2, 3, 15
MAP_FIXED, MAP_ANONYMOUS, MAP_GROWSDOWN = 0x10, 0x20, 0x100
MAP_LOCKED, MAP_NORESERVE, MAP_POPULATE, MAP_NONBLOCK = 0x2000, 0x4000, 0x8000, 0x10000
MAP_STACK, MAP_HUGETLB, MAP_SYNC, MAP_FIXED_NOREPLACE = 0x20000, 0x40000, 0x80000, 0x100000
MAP_DROPPABLE = 8
MAP_HUGE_SHIFT, MAP_HUGE_MASK = 26, 63  # beside MAP_HUGETLB: log2 of the size of pages, 0 for the usual one
MAP_LEGACY = 0x7C07F9F3  # what MAP_SHARED_VALIDATE knows of (LEGACY_MAP_MASK)
MREMAP_MAYMOVE, MREMAP_FIXED, MREMAP_DONTUNMAP = 1, 2, 4

# madvise
MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTNEED = 0, 1, 2, 3, 4
MADV_FREE, MADV_REMOVE, MADV_DONTFORK, MADV_DOFORK = 8, 9, 10, 11
MADV_MERGEABLE, MADV_UNMERGEABLE, MADV_HUGEPAGE, MADV_NOHUGEPAGE = 12, 13, 14, 15
MADV_DONTDUMP, MADV_DODUMP, MADV_WIPEONFORK, MADV_KEEPONFORK = 16, 17, 18, 19
MADV_COLD, MADV_PAGEOUT, MADV_POPULATE_READ, MADV_POPULATE_WRITE = 20, 21, 22, 23
MADV_DONTNEED_LOCKED, MADV_COLLAPSE, MADV_GUARD_INSTALL, MADV_GUARD_REMOVE = 24, 25, 102, 103

# mlock2, mlockall, msync
MLOCK_ONFAULT = 1
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4
MS_ASYNC, MS_INVALIDATE, MS_SYNC = 1, 2, 4

# errno, as the raw system calls return it: negative
EPERM, EBADF, EAGAIN, ENOMEM, EACCES, EFAULT, EBUSY = 1, 9, 11, 12, 13, 14, 16
EEXIST, ENODEV, EINVAL, EOPNOTSUPP, EOVERFLOW, EHWPOISON = 17, 19, 22, 95, 75, 133

# a VMA's flags
VM_READ, VM_WRITE, VM_EXEC, VM_SHARED = 1, 2, 4, 8
VM_MAYREAD, VM_MAYWRITE, VM_MAYEXEC, VM_MAYSHARE = 0x10, 0x20, 0x40, 0x80
VM_GROWSDOWN, VM_PFNMAP, VM_LOCKED, VM_IO = 0x100, 0x400, 0x2000, 0x4000
VM_SEQ_READ, VM_RAND_READ, VM_DONTCOPY, VM_DONTEXPAND = 0x8000, 0x10000, 0x20000, 0x40000
VM_LOCKONFAULT, VM_ACCOUNT, VM_NORESERVE, VM_HUGETLB = 0x80000, 0x100000, 0x200000, 0x400000
VM_MAYBE_GUARD = 0x800  # has or had guard markers; keeps no two VMAs from merging, the merged one has it (VM_STICKY)
VM_WIPEONFORK, VM_DONTDUMP, VM_HUGEPAGE, VM_NOHUGEPAGE = 0x02000000, 0x04000000, 0x20000000, 0x40000000
VM_ACCESS = VM_READ | VM_WRITE | VM_EXEC
VM_PKEY = 0x08000000  # has the protection key that may only be executed, see protect.py (Linux: VM_PKEY_BIT0, bit 32)

# a File's kind: our own numbers
FILE_REGULAR, FILE_ZERO, FILE_UNMAPPABLE, FILE_CLOSED = 0, 1, 2, 3

# signals and their codes
SIGBUS, SIGSEGV, SIGKILL = 7, 11, 9
SEGV_MAPERR, SEGV_ACCERR, SEGV_PKUERR, BUS_ADRERR, SI_KERNEL = 1, 2, 4, 2, 128

# whether a stack grows down to an access: our own numbers, see growth.py
GROWS, NO_STACK, IN_GUARD_GAP, OVER_LIMIT = 0, 1, 2, 3

# A page table entry that maps a page; PFN counts in pages of the machine's size, so that its lowest bit is page_shift.
#
#    63  62        52 51           12  11   10    9    8    7    6   5   4   3   2   1   0
#   +---+------------+---------------+----+----+----+----+----+----+---+---+---+---+---+---+
#   |   |            |      PFN      |    |SWAP|ZERO|NONE| PS | D  | A |KEY|EXC| U | W | P |
#   +---+------------+---------------+----+----+----+----+----+----+---+---+---+---+---+---+
#
# P present, W writable, U user, A accessed, D dirty, PS a huge page (in the table above the last): the processor's.
# ZERO: the shared zero page (Linux: PAGE_SPECIAL). NONE: the page is there and PROT_NONE keeps everybody out; P is
# clear then (Linux: _PAGE_PROTNONE). SWAP: not present, the PFN field holds a swap slot (Linux: a swap entry).
# EXC: of a swap PTE, that the page was nobody else's when it went (Linux: _PAGE_SWP_EXCLUSIVE).
# KEY: the page has VM_PKEY's protection key, which keeps all loads and stores out (the processor: bits 59 to 62).
# GUARD (P, NONE and SWAP clear): MADV_GUARD_INSTALL's marker.
PTE_PRESENT, PTE_WRITABLE, PTE_USER, PTE_ACCESSED, PTE_DIRTY = 1, 2, 4, 0x20, 0x40
PTE_HUGE, PTE_NONE, PTE_ZERO, PTE_SWAP, PTE_GUARD = 0x80, 0x100, 0x200, 0x400, 0x800
PTE_MAPPED = PTE_PRESENT | PTE_NONE
PTE_SWAP_EXCLUSIVE, PTE_PKEY = 8, 0x10

# An entry that leads to a lower table holds its PFN, P, W, U, A (TABLE_BITS) and, in the table above the last,
# HUGE_TABLE if all pages of that lower table are mapped as one huge page: Linux keeps such a table aside for the day it
# is split; here it is filled with the pages' own entries all along. A reserved huge page (hugetlb) has no such table:
# an entry with PS maps it.
TABLE_BITS, HUGE_TABLE = 0x27, 0x800

# The permission byte of a page (memory.py has bits 0 and 1):
#
#     7   6   5   4    3     2    1   0
#   +---+---+---+---+-----+-----+---+---+
#   |               |BYTES|TOUCH| W | R |
#   +---+---+---+---+-----+-----+---+---+
#
# TOUCHED: the PTE is writable and dirty, a store would cost no fault. BYTES: the window's bytes may be other than zero.
# W implies TOUCHED and BYTES. Where BYTES is clear the window holds zeros.
TOUCHED, BYTES = 4, 8
GRANTS = 7  # R, W and TOUCHED: what is derived from the PTE

# A frame's state, see frames.py.
FRAME_ANON, FRAME_FILE, FRAME_TABLE, FRAME_EXCLUSIVE = 1, 2, 4, 8
FRAME_DIRTY, FRAME_REFERENCED, FRAME_ACTIVE, FRAME_LISTED = 0x10, 0x20, 0x40, 0x80
FRAME_UNREAD, FRAME_LAZYFREE, FRAME_SWAPCACHE, FRAME_MLOCKED = 0x100, 0x200, 0x400, 0x800
FRAME_HUGE, FRAME_MEMORY, FRAME_UPDATE, FRAME_HUGETLB = 0x1000, 0x2000, 0x4000, 0x8000

NO_FRAME = 0xFFFFFFFF

# events, see observe.py
EVENT_ZERO_PAGE, EVENT_DEMAND_ZERO, EVENT_COPY, EVENT_REPLACE_ZERO, EVENT_REUSE = 1, 2, 3, 4, 5
EVENT_FILE, EVENT_FILE_READ, EVENT_FILE_COPY, EVENT_SWAP_IN, EVENT_SWAP_OUT = 6, 7, 8, 9, 10
EVENT_DROP, EVENT_HUGE, EVENT_SPLIT_HUGE, EVENT_MAP, EVENT_UNMAP = 11, 12, 13, 14, 15
EVENT_SPLIT, EVENT_MERGE, EVENT_PROTECT, EVENT_BRK, EVENT_STACK = 16, 17, 18, 19, 20
EVENT_FORK, EVENT_EXIT, EVENT_KILL, EVENT_SIGNAL, EVENT_MOVE, EVENT_DISCARD = 21, 22, 23, 24, 25, 26
