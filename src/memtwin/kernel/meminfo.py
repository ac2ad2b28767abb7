# SPDX-License-Identifier: LGPL-2.1-or-later
"""The machine's own /proc texts: meminfo's main lines, buddyinfo, and vmstat's counters of swap and reclaim.

Formats are the kernel's (fs/proc/meminfo.c, mm/vmstat.c). Lines of meminfo that the twin has nothing to say about
(slab, stacks, vmalloc …) are left out; MemTotal is all of the RAM, as there is no kernel image in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtwin.kernel.flags import FRAME_ANON, FRAME_FILE, FRAME_HUGETLB, FRAME_MEMORY, FRAME_TABLE
from memtwin.kernel.policies.two_list import TwoList

if TYPE_CHECKING:
    from memtwin.kernel.machine import Machine


def meminfo_text(machine: Machine) -> str:
    """/proc/meminfo, the lines that the twin knows."""
    sizes = "".join(f"{name + ':':<16}{kib:>8} kB\n" for name, kib in meminfo(machine).items())
    pool = machine.huge_pools[machine.profile.huge_size]
    counts = "".join(f"{name + ':':<19}{count % 2**64:>5}\n" for name, count in huge_pages(machine).items())
    total = sum(one.total * one.size for one in machine.huge_pools.values())
    return f"{sizes}{counts}{'Hugepagesize:':<16}{pool.size >> 10:>8} kB\n{'Hugetlb:':<16}{total >> 10:>8} kB\n"


def huge_pages(machine: Machine, size: int = 0) -> dict[str, int]:
    """The counts that /proc/meminfo has of reserved huge pages; size: of those pages, bytes, 0 the usual one."""
    pool = machine.huge_pools[size or machine.profile.huge_size]
    return {
        "HugePages_Total": pool.total,
        "HugePages_Free": len(pool.free),
        "HugePages_Rsvd": pool.reserved,
        "HugePages_Surp": 0,
    }


def meminfo(machine: Machine) -> dict[str, int]:
    """The figures of /proc/meminfo by name, KiB."""
    frames, swap = machine.frames, machine.swap_area
    pages = _census(machine)
    cached = pages["file"] + pages["shmem"]
    found = {
        "MemTotal": frames.total,
        "MemFree": frames.free,
        "MemAvailable": _available(machine, pages["file"]),
        "Cached": cached,
        "SwapCached": len(swap.slots),
        **_lists(machine, pages),
        "Mlocked": sum(space.locked_vm for space in machine.spaces.values()),
        "SwapTotal": swap.total,
        "SwapFree": swap.total - swap.used,
        "AnonPages": pages["anon"],
        "Mapped": pages["mapped"],
        "Shmem": pages["shmem"],
        "PageTables": pages["table"],
        "CommitLimit": machine.overcommit.limit(),
        "Committed_AS": frames.committed,
    }
    shift = frames.page_shift
    return {name: (count << shift) >> 10 for name, count in found.items()}


def _available(machine: Machine, file_pages: int) -> int:
    """si_mem_available: free above the low watermark, and the page cache less half of it or the watermark."""
    low = machine.reclaim.low
    return int(max(machine.frames.free - low + file_pages - min(file_pages // 2, low), 0))


def _census(machine: Machine) -> dict[str, int]:
    """Pages by kind, from what the frames say of themselves."""
    counts = dict.fromkeys(("anon", "file", "shmem", "table", "mapped"), 0)
    for pfn in range(machine.frames.fresh):
        state = machine.frames.state(pfn)
        flags = state["flags"]
        if flags & FRAME_HUGETLB:
            continue
        if flags & FRAME_TABLE:
            counts["table"] += 1
        elif flags & FRAME_ANON:
            counts["anon"] += 1
        elif flags & FRAME_FILE:
            counts["shmem" if flags & FRAME_MEMORY else "file"] += 1
            counts["mapped"] += state["mapped"] > 0
    return counts


def _lists(machine: Machine, pages: dict[str, int]) -> dict[str, int]:
    """Active and inactive pages; until memory is short for the first time all are inactive, where new pages begin."""
    inactive_anon, inactive_file = pages["anon"] + pages["shmem"], pages["file"]
    active_anon = active_file = 0
    for group in machine.frames.groups:
        if isinstance(group.policy, TwoList):
            active_anon += group.policy.active_anon.count
            active_file += group.policy.active_file.count
    inactive_anon -= active_anon
    inactive_file -= active_file
    return {
        "Active": active_anon + active_file,
        "Inactive": inactive_anon + inactive_file,
        "Active(anon)": active_anon,
        "Inactive(anon)": inactive_anon,
        "Active(file)": active_file,
        "Inactive(file)": inactive_file,
    }


def buddyinfo_text(machine: Machine) -> str:
    """/proc/buddyinfo: free blocks by order; all RAM is one zone."""
    return f"Node 0, zone {'Normal':>8} " + "".join(f"{n:>6} " for n in machine.frames.free_blocks()) + "\n"


def vmstat(machine: Machine) -> dict[str, int]:
    """Counters of /proc/vmstat that pressure moves, by their names there."""
    reclaim, swap = machine.reclaim, machine.swap_area
    spaces = list(machine.spaces.values())
    return {
        "nr_free_pages": machine.frames.free,
        "pswpin": swap.pages_in,
        "pswpout": swap.pages_out,
        "pgfault": sum(space.min_flt + space.maj_flt for space in spaces),
        "pgmajfault": sum(space.maj_flt for space in spaces),
        "pgsteal_kswapd": reclaim.kswapd_steal,
        "pgsteal_direct": reclaim.direct_steal,
        "pgscan": sum(group.policy.scanned for group in machine.frames.groups),
        "allocstall": reclaim.stalls,
        "oom_kill": len(machine.oom_kills),
    }


def vmstat_text(machine: Machine) -> str:
    """Those lines of /proc/vmstat."""
    return "".join(f"{name} {value}\n" for name, value in vmstat(machine).items())
