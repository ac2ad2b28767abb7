# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a process has resident besides its allocator's memory, over time, as it was measured.

The recorder's snapshots of smaps say how much of each mapping is in RAM; samples in between say how large the whole
is. Text, files, stacks and the program's own mappings are read off the snapshots. What a sample shows that neither
they nor the twin account for is `unexplained`: memory that nobody saw, or, negative, blocks that were never touched.

The replay of what really happened finds these figures; a replay under other settings takes them over.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from memtwin.replay.mappings import Correction
    from memtwin.replay.twin import Twin
    from memtwin.trace.reader import MapsSnapshot, Vma

LINES = ("text", "files", "stacks", "other", "recorder", "unexplained")
RECORDER = range(0x200000000000, 0x400000000000)  # where host/start.c and host/raw_file.c map what they need
_RECORDER_FILE = "/recorder.so"
_GUARD_PAGES = 16


class Moment(NamedTuple):
    """From `event` on, this much is resident besides the allocator's memory, bytes by line."""

    event: int
    lines: dict[str, int]

    @property
    def total(self) -> int:
        """All lines together."""
        return sum(self.lines.values())


@dataclass
class Surroundings:
    """The moments of one image in their order, and what its snapshots corrected in the mappings."""

    moments: list[Moment] = field(default_factory=list)
    corrections: dict[int, Correction] = field(default_factory=dict)

    def at(self, event: int) -> Moment:
        """The moment that holds when `event` is about to happen."""
        place = bisect_right(self.moments, event, key=lambda one: one.event)
        return self.moments[place - 1] if place else Moment(event, dict.fromkeys(LINES, 0))


def imprecision(cpus: int, page_size: int) -> int:
    """Bytes by which RSS in statm may be off: three counters, each with a batch of pages on each processor.

    percpu_counter_batch is max(32, 2 * processors); Linux f1a7941243c1 ("mm: convert mm's rss stats into
    percpu_counter", 6.2). Before, each thread kept up to 64 faults to itself.
    """
    return 3 * cpus * max(32, 2 * cpus) * page_size


def kind_of(vma: Vma, below: Vma | None) -> str:
    """The line of a mapping that is not the allocator's; `below` is the mapping right under it, if it touches."""
    if vma.start in RECORDER or vma.path.endswith(_RECORDER_FILE):
        return "recorder"
    if vma.path.startswith("[stack"):
        return "stacks"
    if vma.path in ("[vdso]", "[vvar]", "[vvar_vclock]"):
        return "text"
    if vma.path and not vma.path.startswith(("[heap", "[anon")):
        return "text" if "x" in vma.permissions else "files"
    if below is None or not vma.permissions.startswith("rw"):
        return "other"
    if below.path.startswith("/") and below.permissions.startswith("rw"):
        return "files"  # the library's .bss
    guard = below.permissions.startswith("---") and not below.path and below.end - below.start <= _GUARD_PAGES * 4096
    return "stacks" if guard else "other"


def with_neighbours(vmas: Iterable[Vma]) -> Iterable[tuple[Vma, Vma | None]]:
    """Each mapping with the one that ends where it begins."""
    below = None
    for vma in vmas:
        yield vma, below if below is not None and below.end == vma.start else None
        below = vma


def first_guess(snapshot: MapsSnapshot | None) -> dict[str, int]:
    """What is resident from the start: the files and stacks of the first snapshot that tells."""
    lines = dict.fromkeys(LINES, 0)
    for vma, below in with_neighbours(snapshot.vmas if snapshot else ()):
        kind = kind_of(vma, below)
        if kind != "other" and vma.path != "[heap]":
            lines[kind] += vma.rss_bytes or 0
    return lines


def measure(snapshot: MapsSnapshot, twin: Twin) -> dict[str, int]:
    """The lines of a snapshot with resident sizes.

    The kernel makes one mapping of the allocator's and the program's memory where they touch: the program has what
    the twin's allocator does not account for. A mapping that is the allocator's alone and has more or less in RAM
    than the twin says is unexplained by the difference.
    """
    lines = dict.fromkeys(LINES, 0)
    for vma, below in with_neighbours(snapshot.vmas):
        if vma.rss_bytes is None or vma.path == "[vsyscall]":  # that one lies beyond the address space
            continue
        foreign = twin.mappings.foreign.within(vma.start, vma.end)
        foreign_bytes = sum(one.end - one.start for one in foreign)
        if foreign_bytes == vma.end - vma.start or vma.start in RECORDER:
            lines[kind_of(vma, below)] += vma.rss_bytes
            continue
        ours = twin.resident(vma.start, vma.end)
        rest = vma.rss_bytes - ours
        explained = min(max(rest, 0), foreign_bytes)
        lines[kind_of(vma, below) if foreign else "other"] += explained
        lines["unexplained"] += rest - explained
    return lines


def settle(lines: dict[str, int], measured: int, allocator_bytes: int, slack: int) -> dict[str, int] | None:
    """The lines after a sample of the whole RSS; None when it is no news, being off by less than `slack` bytes."""
    off = measured - allocator_bytes - sum(lines.values())
    if abs(off) <= slack:
        return None
    return {**lines, "unexplained": lines["unexplained"] + off}
