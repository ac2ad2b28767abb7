# SPDX-License-Identifier: LGPL-2.1-or-later
"""/proc/PID/smaps and smaps_rollup of the twin, to the byte as fs/proc/task_mmu.c writes them (Linux 6.18).

Sizes are in kB, cut off. Which fields a real kernel keeps exactly is said in verify/observation.py; Referenced and
LazyFree are those of an idle kernel.
"""

from __future__ import annotations

from typing import Any

from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.census import Census
from memtwin.kernel.flags import VM_HUGEPAGE, VM_HUGETLB, VM_LOCKED, VM_NOHUGEPAGE, VM_PKEY, VM_SHARED
from memtwin.kernel.procfs import NAME_COLUMN, maps_line
from memtwin.kernel.vma import Vma

# VmFlags' codes, by bit of vm_flags (show_smap_vma_flags)
FLAG_CODES = {
    0: "rd", 1: "wr", 2: "ex", 3: "sh", 4: "mr", 5: "mw", 6: "me", 7: "ms", 8: "gd", 10: "pf", 11: "gu", 13: "lo",
    14: "io", 15: "sr", 16: "rr", 17: "dc", 18: "de", 19: "lf", 20: "ac", 21: "nr", 22: "ht", 23: "sf", 25: "wf",
    26: "dd", 28: "mm", 29: "hg", 30: "nh", 31: "mg",
}  # fmt: skip
_PSS_SHIFT = 12
_FILE, _SHMEM = 0, 1


def smaps(space: AddressSpace) -> str:
    """The text of /proc/PID/smaps."""
    return "".join([smaps_of(space, vma) for vma in space.vmas()])


def smaps_of(space: AddressSpace, vma: Vma) -> str:
    """One VMA's part of it."""
    page = (vma.inode.pool.size if vma.flags & VM_HUGETLB else space.page_size) >> 10
    head = [maps_line(space, vma), _line("Size", (vma.end - vma.start) >> 10)]
    head += [_line("KernelPageSize", page), _line("MMUPageSize", page)]
    census = Census()
    count_vma(space, vma, census)
    eligible = f"{'THPeligible:':<16}{int(is_huge_eligible(space, vma)):8d}"
    keys = [f"{'ProtectionKey:':<16}{int(vma.flags & VM_PKEY != 0):8d}"] if space.profile.protection_keys else []
    return "\n".join([*head, *_sizes(census, False), eligible, *keys, vm_flags(vma.flags), ""])


def smaps_rollup(space: AddressSpace) -> str:
    """The text of /proc/PID/smaps_rollup: all VMAs in one."""
    census = Census()
    vmas = space.vmas()
    for vma in vmas:
        count_vma(space, vma, census)
    start, end = (vmas[0].start, vmas[-1].end) if vmas else (0, 0)
    head = f"{start:08x}-{end:08x} ---p 00000000 00:00 0 "
    return "\n".join([f"{head:<{NAME_COLUMN}}[rollup]", *_sizes(census, True), ""])


def count_vma(space: AddressSpace, vma: Vma, census: Census) -> None:
    """Add a VMA's pages to a census (smap_gather_stats)."""
    if vma.flags & VM_HUGETLB:
        census.add_reserved(space, vma.start, vma.end)
        return
    shmem = is_shmem(vma)
    census.add(space, vma.start, vma.end, _SHMEM if shmem else _FILE, bool(vma.flags & VM_LOCKED))


def is_shmem(vma: Vma) -> bool:
    """Whether it maps a file in memory: tmpfs, memfd, anonymous shared memory."""
    inode = getattr(vma.file, "inode", None)
    return bool(inode is not None and inode.in_memory)


def is_huge_eligible(space: AddressSpace, vma: Vma) -> bool:
    """Whether a fault in the VMA could bring a huge page (thp_vma_allowable_orders)."""
    wanted = space.profile.thp == "always" or (space.profile.thp == "madvise" and vma.flags & VM_HUGEPAGE)
    plain = vma.file is None and not vma.flags & (VM_NOHUGEPAGE | VM_SHARED)
    size = space.huge_size
    return bool(wanted and plain and (vma.start + size - 1) // size < vma.end // size)


def vm_flags(flags: int) -> str:
    """The VmFlags line."""
    return "VmFlags: " + "".join([code + " " for bit, code in FLAG_CODES.items() if flags >> bit & 1])


def _line(name: str, kilobytes: int) -> str:
    return f"{name + ':':<16}{kilobytes:8d} kB"


def _sizes(census: Any, rollup: bool) -> list[str]:
    """The lines that both files have (__show_smap)."""
    fields = [
        ("Rss", census.resident),
        ("Pss", census.pss >> _PSS_SHIFT),
        ("Pss_Dirty", census.pss_dirty >> _PSS_SHIFT),
    ]
    if rollup:
        fields += [
            ("Pss_Anon", census.pss_anon >> _PSS_SHIFT), ("Pss_File", census.pss_file >> _PSS_SHIFT),
            ("Pss_Shmem", census.pss_shmem >> _PSS_SHIFT),
        ]  # fmt: skip
    fields += [
        ("Shared_Clean", census.shared_clean), ("Shared_Dirty", census.shared_dirty),
        ("Private_Clean", census.private_clean), ("Private_Dirty", census.private_dirty),
        ("Referenced", census.referenced), ("Anonymous", census.anonymous), ("KSM", 0), ("LazyFree", census.lazyfree),
        ("AnonHugePages", census.huge), ("ShmemPmdMapped", 0), ("FilePmdMapped", census.huge_file),
        ("Shared_Hugetlb", census.shared_reserved), ("Private_Hugetlb", census.private_reserved),
        ("Swap", census.swap),
        ("SwapPss", census.swap_pss >> _PSS_SHIFT), ("Locked", census.pss_locked >> _PSS_SHIFT),
    ]  # fmt: skip
    return [_line(name, value >> 10) for name, value in fields]
