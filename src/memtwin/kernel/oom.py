# SPDX-License-Identifier: LGPL-2.1-or-later
"""The OOM killer: who dies when reclaim has nothing left to win (mm/oom_kill.c)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memtwin.kernel.flags import EVENT_KILL, SIGKILL, VM_PFNMAP, VM_SHARED

if TYPE_CHECKING:
    from memtwin.kernel.mm import Mm

OOM_SCORE_ADJ_MIN = -1000


@dataclass(frozen=True)
class OomKill:
    """One kill: the space's number in its machine, its badness in pages, and what it had in bytes when it died."""

    space: int
    badness: int
    total_vm_bytes: int
    anon_bytes: int
    file_bytes: int
    shmem_bytes: int
    swap_bytes: int
    table_bytes: int
    oom_score_adj: int

    def __str__(self) -> str:
        """The kernel log's sentence, as far as the twin knows it (__oom_kill_process)."""
        return (
            f"Out of memory: Killed process {self.space} total-vm:{self.total_vm_bytes >> 10}kB, "
            f"anon-rss:{self.anon_bytes >> 10}kB, file-rss:{self.file_bytes >> 10}kB, "
            f"shmem-rss:{self.shmem_bytes >> 10}kB, pgtables:{self.table_bytes >> 10}kB "
            f"oom_score_adj:{self.oom_score_adj}"
        )


def badness(mm: Mm, total_pages: int) -> int | None:
    """How much is won by killing `mm`, in pages; None: it must not be killed (oom_badness).

    Pages in RAM, in swap and of page tables, plus oom_score_adj thousandths of `total_pages`, which is RAM and swap, or
    a group's limit.
    """
    if mm.oom_score_adj == OOM_SCORE_ADJ_MIN or mm.stop_signal == SIGKILL:
        return None
    points = mm.anon_pages + mm.file_pages + mm.shmem_pages + mm.swap_pages + mm.pages.counted()
    return int(points + mm.oom_score_adj * (total_pages // 1000))


def choose(spaces: Iterable[Mm], total_pages: int) -> Mm | None:
    """The space with the most badness; of equals the one that came last (oom_evaluate_task); None: nobody may die."""
    worst: Mm | None = None
    most = 0
    for mm in spaces:
        points = badness(mm, total_pages)
        if points is not None and mm.pages.root and (worst is None or points >= most):
            worst, most = mm, points
    return worst


def kill(mm: Mm, total_pages: int) -> OomKill:
    """SIGKILL for a space: it stops, and its private memory is free at once (oom_reaper)."""
    size = mm.page_size
    record = OomKill(
        mm.number,
        badness(mm, total_pages) or 0,
        mm.total_vm * size,
        mm.anon_pages * size,
        mm.file_pages * size,
        mm.shmem_pages * size,
        mm.swap_pages * size,
        mm.pages.counted() * size,
        mm.oom_score_adj,
    )
    if mm.frames.observed:
        mm.machine.observers.tell(mm, EVENT_KILL, 0, 0, 0, 0)
    mm.end_by(SIGKILL)
    for vma in mm.tree:
        if vma.file is None or not vma.flags & (VM_SHARED | VM_PFNMAP):
            mm.discard_pages(vma.start, vma.end)
    return record
