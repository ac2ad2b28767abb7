# SPDX-License-Identifier: LGPL-2.1-or-later
"""What can be seen of a tree of processes' pages, in a form in which twin and host must be equal.

Compared: smaps fields and VmFlags of each VMA, pagemap's state bits of each page, how often each page's frame is
mapped, which pages of all processes share one frame (frame numbers themselves are renamed in order of appearance),
and the exact Vm… lines of status.

On a machine with a pool of reserved huge pages also what smaps, status and meminfo say of those.

Left out by rule, because the kernel itself is not exact there (batched per CPU, timed, or random): the fields in
NOT_EXACT everywhere, those in NOT_EXACT_ON_DISK for mappings of files on disk, and the pages of the program itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from memtwin.host.proc import PFN_MASK, PRESENT, STATE_BITS, Smap, parse_smaps, parse_status
from memtwin.host.stage import Facts
from memtwin.verify.layout import HUGE_NAME

PAGE = 4096
MOST_PAGES = 4096  # of one VMA that are looked at one by one; of a reserved huge page only the first and the last

EXACT = (
    "Size", "KernelPageSize", "MMUPageSize", "Rss", "Pss", "Pss_Dirty", "Shared_Clean", "Shared_Dirty",
    "Private_Clean", "Private_Dirty", "Anonymous", "AnonHugePages", "Swap", "SwapPss", "Locked",
)  # fmt: skip
NOT_EXACT = {
    "Referenced": "the accessed bit is cleared and set by the kernel when it likes",
    "LazyFree": "pages become lazily freeable in batches, one per CPU",
    "KSM": "pages are merged by a daemon",
    "THPeligible": "depends on the machine's settings",
}
NOT_EXACT_ON_DISK = {
    "Pss_Dirty": "write-back is timed, and a folio of several pages is dirty as a whole",
    "Shared_Clean": "as Pss_Dirty", "Shared_Dirty": "as Pss_Dirty",
    "Private_Clean": "as Pss_Dirty", "Private_Dirty": "as Pss_Dirty",
}  # fmt: skip
HUGE_SIZES, HUGE_STATUS = ("Shared_Hugetlb", "Private_Hugetlb"), ("HugetlbPages",)
POOL = ("HugePages_Total", "HugePages_Free", "HugePages_Rsvd", "HugePages_Surp")
STATUS = ("VmSize", "VmLck", "VmData", "VmStk", "VmExe", "VmLib", "VmPTE")
FLAGS_LEFT_OUT = frozenset(("sd",))  # soft-dirty: not every kernel has it


class Seen(NamedTuple):
    """One VMA: its range and letters as in maps, smaps' exact fields, its flags, and for each page that is not absent
    (page number in the VMA, state bits, frame renamed, map count)."""

    head: bytes
    sizes: tuple[tuple[str, int], ...]
    flags: frozenset[str]
    pages: tuple[tuple[int, int, int, int], ...]


class SeenProcess(NamedTuple):
    """One process: its VMAs and its status lines."""

    vmas: tuple[Seen, ...]
    status: tuple[tuple[str, int], ...]


Observation = Mapping[int, SeenProcess]


class Pages(ABC):
    """What one process's pages can be asked: on the host through /proc, on the twin through its model of it."""

    @abstractmethod
    def smaps(self) -> bytes:
        """The text of /proc/PID/smaps."""

    @abstractmethod
    def status(self) -> str:
        """The text of /proc/PID/status, at least its Vm… lines."""

    @abstractmethod
    def pagemap(self, start: int, pages: int) -> array[int]:
        """Entries of /proc/PID/pagemap."""

    @abstractmethod
    def map_count(self, pfn: int) -> int:
        """How often the frame is mapped, of all processes."""

    @abstractmethod
    def pool(self) -> dict[str, int]:
        """The lines of /proc/meminfo that POOL names."""


def observe(facts: Facts, processes: Mapping[int, Pages], huge: bool = False) -> Observation:
    """Look at all processes, in the order of their numbers. huge: also at reserved huge pages."""
    names: dict[int, int] = {}
    return {number: _observe_process(facts, processes[number], names, huge) for number in sorted(processes)}


def _observe_process(facts: Facts, pages: Pages, names: dict[int, int], huge: bool) -> SeenProcess:
    vmas = [vma for vma in parse_smaps(pages.smaps()) if _is_compared(facts, vma)]
    status = parse_status(pages.status()) | (pages.pool() if huge else {})
    fields = (*STATUS, *HUGE_STATUS, *POOL) if huge else STATUS
    sizes = (*EXACT, *HUGE_SIZES) if huge else EXACT
    return SeenProcess(
        tuple(_observe_vma(vma, pages, names, sizes) for vma in vmas), tuple((name, status[name]) for name in fields)
    )


def _is_compared(facts: Facts, vma: Smap) -> bool:
    """Not the program's own VMAs, nor those whose pages are the kernel's."""
    own = facts.image_start <= vma.start < facts.image_end
    return not own and not vma.head.endswith((b"[vsyscall]", b"[vvar]", b"[vvar_vclock]", b"[vdso]"))


def _on_disk(vma: Smap) -> bool:
    in_memory = (HUGE_NAME, b"/memfd:", b"/dev/zero")
    return b" /" in vma.head and not any(name in vma.head for name in in_memory)


def _observe_vma(vma: Smap, pages: Pages, names: dict[int, int], compared: tuple[str, ...]) -> Seen:
    on_disk = _on_disk(vma)
    sizes = [(name, vma.sizes[name]) for name in compared if not (on_disk and name in NOT_EXACT_ON_DISK)]
    entries = np.frombuffer(pages.pagemap(vma.start, min((vma.end - vma.start) // PAGE, MOST_PAGES)), np.uint64)
    seen = []
    whole = vma.sizes["KernelPageSize"] // PAGE
    for page in np.flatnonzero(entries & np.uint64(STATE_BITS)).tolist():
        if 0 < page % whole < whole - 1:  # between the first and the last of a reserved huge page
            continue
        entry = int(entries[page])
        seen.append((page, entry & STATE_BITS, *_frame(entry, pages, names)))
    head = b" ".join(vma.head.split(None, 2)[:2])
    return Seen(head, tuple(sizes), vma.flags - FLAGS_LEFT_OUT, tuple(seen))


def _frame(entry: int, pages: Pages, names: dict[int, int]) -> tuple[int, int]:
    """The frame's name, in order of appearance, and its map count; (0, 0) where no frame is to be seen.

    The shared zero page is no frame of anyone's: it counts as mapped 0 times.
    """
    pfn = entry & PFN_MASK
    if not entry & PRESENT or pfn == 0:
        return (0, 0)
    count = pages.map_count(pfn)
    if count == 0:
        return (0, 0)
    return (names.setdefault(pfn, len(names) + 1), count)
