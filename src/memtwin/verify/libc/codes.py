# SPDX-License-Identifier: LGPL-2.1-or-later
"""Operation codes (trace.schema.Op, host.player.Play) and profiles.Rare as plain constants, for the compiled loops.

codes.pxd holds the same for the compiled run; a test compares the four lists.
"""

from __future__ import annotations

MALLOC = 1
CALLOC = 2
REALLOC = 3
FREE = 4
MEMALIGN = 5
POSIX_MEMALIGN = 6
ALIGNED_ALLOC = 7
VALLOC = 8
PVALLOC = 9
REALLOCARRAY = 10
MALLOC_TRIM = 11
MALLOPT = 12
MMAP = 16
MUNMAP = 17
MADVISE = 19
MPROTECT = 20
BRK = 21
SBRK = 22
THREAD_START = 33
THREAD_EXIT = 34
FORK = 35
USABLE_SIZE = 64
MALLINFO = 65
MALLINFO2 = 66
MALLOC_STATS = 67
MALLOC_INFO = 68
WRITE = 69
POKE = 70
POKE_POINTER = 71
POKE_LINK = 72
PEEK = 73
SET = 74
LIMIT = 75
STOP = 76
MCHECK = 77
MPROBE = 78
CHECK_ALL = 79
RARE_TRIM = 0
RARE_MALLOPT = 1
RARE_MALLINFO = 2
RARE_STATS = 3
RARE_INFO = 4
RARE_SBRK = 5
RARE_MAP = 6
RARE_LIMIT = 7
RARE_FORK = 8
RARE_SWITCH = 9
RARE_START = 10
RARE_EXIT = 11
RARE_REFUSED = 12
RARE_STOP = 13
