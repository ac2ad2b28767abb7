# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the kernel does of its own accord while a sequence is played on the host, told by its own counters.

khugepaged, reclaim, compaction and write-back change a process's pages when they like, and none of them can be switched
off for one process only: PR_SET_THP_DISABLE would also end the huge pages of faults, which are compared. So each is
asked afterwards whether it was at work. Sources: Documentation/admin-guide/mm/transhuge.rst, proc_vmstat(5),
cachestat(2) (Linux 6.5; cf264e1329fb, "cachestat: implement cachestat syscall").
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import NamedTuple

# /proc/vmstat's counters, of the whole machine, by what their growth means
NO_HUGE_BLOCK = "no block was free for a huge page"
RECLAIMED = "memory was short and pages were reclaimed"
CAUSES = {
    "khugepaged made huge pages": ("thp_collapse_alloc",),
    NO_HUGE_BLOCK: ("thp_fault_fallback",),
    RECLAIMED: (
        "pgsteal_kswapd", "pgsteal_direct", "pgsteal_khugepaged", "pgsteal_proactive", "pglazyfreed", "pswpout",
    ),
    "pages were moved to make room (compaction)": ("pgmigrate_success", "pgmigrate_fail"),
    "huge pages were split under memory pressure": ("thp_underused_split_page",),
}  # fmt: skip
WRITTEN, EVICTED = "the file's pages were written back", "the file's pages were reclaimed"
_SYS_CACHESTAT = 451
_libc = ctypes.CDLL(None, use_errno=True)


class FileCache(NamedTuple):
    """cachestat(2) of a whole file, pages."""

    cached: int
    dirty: int
    writeback: int
    evicted: int
    recently_evicted: int


def read_file_cache(descriptor: int) -> FileCache | None:
    """What the page cache holds of an open file; None before Linux 6.5."""
    whole, answer = (ctypes.c_uint64 * 2)(0, 0), (ctypes.c_uint64 * 5)()
    if _libc.syscall(_SYS_CACHESTAT, descriptor, ctypes.byref(whole), ctypes.byref(answer), 0) != 0:
        return None
    return FileCache(*answer)


def read_vmstat() -> dict[str, int]:
    """/proc/vmstat."""
    return {name: int(value) for name, value in map(str.split, Path("/proc/vmstat").read_text().splitlines())}


def causes_since(before: dict[str, int]) -> tuple[str, ...]:
    """What the kernel has done since /proc/vmstat was `before`, of CAUSES."""
    grown = {name for name, value in read_vmstat().items() if value > before.get(name, value)}
    return tuple(cause for cause, names in CAUSES.items() if grown.intersection(names))


class Watch:
    """What has been going on since `begin`. descriptor: a file all of whose pages are cached and dirty at `begin`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._pages = -(-os.fstat(descriptor).st_size // os.sysconf("SC_PAGE_SIZE"))
        self._before: dict[str, int] = {}

    def begin(self) -> None:
        """From now on."""
        self._before = read_vmstat()

    def causes(self) -> tuple[str, ...]:
        """What the kernel did since, of CAUSES, WRITTEN and EVICTED; empty when it left the processes alone."""
        found = [*causes_since(self._before)]
        cache = read_file_cache(self._descriptor)
        if cache and cache.cached < self._pages:
            found.append(EVICTED)
        elif cache and cache.dirty < self._pages:
            found.append(WRITTEN)
        return tuple(found)
