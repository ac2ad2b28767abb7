# SPDX-License-Identifier: LGPL-2.1-or-later
"""The memory lines of /proc/PID/status, /proc/PID/statm and /proc/PID/pagemap of the twin (fs/proc/task_mmu.c)."""

from __future__ import annotations

from array import array

from memtwin.errors import UserError
from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.census import pagemap_entries


def status(space: AddressSpace) -> str:
    """The lines from VmPeak to HugetlbPages (task_mem).

    VmLib is executable memory that is not the program's own, VmExe, which execve set; VmPTE counts page tables below
    the topmost.
    """
    page = space.page_size >> 10
    text = min(_text_bytes(space) >> 10, space.exec_vm * page)
    rss = space.rss_pages
    fields = {
        "VmPeak": max(space.peak_vm, space.total_vm) * page,
        "VmSize": space.total_vm * page,
        "VmLck": space.locked_vm * page,
        "VmPin": 0,
        "VmHWM": max(space.peak_pages, rss) * page,
        "VmRSS": rss * page,
        "RssAnon": space.anon_pages * page,
        "RssFile": space.file_pages * page,
        "RssShmem": space.shmem_pages * page,
        "VmData": space.data_vm * page,
        "VmStk": space.stack_vm * page,
        "VmExe": text,
        "VmLib": space.exec_vm * page - text,
        "VmPTE": space.pages.counted() * page,
        "VmSwap": space.swap_pages * page,
        "HugetlbPages": space.reserved_pages * page,
    }
    return "".join([f"{name}:\t{value:8d} kB\n" for name, value in fields.items()])


def statm(space: AddressSpace) -> str:
    """The line of /proc/PID/statm, in pages: size, resident, shared, text, lib (0), data with stack, dirty (0)."""
    shared = space.file_pages + space.shmem_pages
    text = _text_bytes(space) >> space.page_shift
    return f"{space.total_vm} {space.rss_pages} {shared} {text} 0 {space.data_vm + space.stack_vm} 0\n"


def _text_bytes(space: AddressSpace) -> int:
    """Bytes of the program's own code, in whole pages."""
    page = space.page_size
    return int((space.end_code + page - 1 & -page) - (space.start_code & -page))


def pagemap(space: AddressSpace, start: int, pages: int) -> array[int]:
    """The entries of /proc/PID/pagemap for `pages` pages from the one that holds `start`, as root sees them.

    Bit 63 present, 62 in swap (then bits 5 to 54 are the slot), 61 of a file or shared memory, 58 a guard, 56 mapped
    by this PTE alone; bits 0 to 54 are the frame. UserError: a range that is no user addresses.
    """
    if pages < 0 or start < 0 or start + pages * space.page_size > space.task_size:
        raise UserError(f"pagemap of {pages} pages from {start:#x}: not all of them are user addresses")
    room = array("Q", bytes(8 * pages))
    pagemap_entries(space, start & -space.page_size, pages, room.buffer_info()[0])
    return room
