# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a process has resident besides its allocator's memory, over time, as it was measured.

The recorder's snapshots of smaps say how much of each mapping is in RAM; samples in between say how large the whole
is. Text, files, stacks and the program's own mappings are read off the snapshots. What a sample shows that neither
they nor the twin account for is `unexplained`: memory that nobody saw, or, negative, blocks that were never touched.
What memtwin's own recorder had in RAM is left out: it is not there otherwise.

The replay of what really happened finds these figures; a replay under other settings takes them over.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from memtwin.replay.mappings import Correction
    from memtwin.replay.twin import Twin
    from memtwin.trace.reader import MapsSnapshot, Vma

LINES = ("text", "files", "stacks", "other", "unexplained")
NOTHING = dict.fromkeys(LINES, 0)
RECORDER = range(0x200000000000, 0x400000000000)  # where host/start.c and host/raw_file.c map what they need
RECORDER_WINDOW = 1 << 20  # bytes: what it may have in RAM more or less than when it was measured (host/stream.c)
_RECORDER_FILE = "/recorder.so"
_GUARD_PAGES = 16


class Moment(NamedTuple):
    """From `event` on, this much is resident besides the allocator's memory, bytes by line; and of the recorder."""

    event: int
    lines: dict[str, int] = NOTHING
    recorder: int = 0

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
        return self.moments[place - 1] if place else Moment(event)


def imprecision(cpus: int, page_size: int) -> int:
    """Bytes by which RSS in statm may be off: three counters, each with a batch of pages on each processor.

    percpu_counter_batch is max(32, 2 * processors); Linux f1a7941243c1 ("mm: convert mm's rss stats into
    percpu_counter", 6.2). Before, each thread kept up to 64 faults to itself.
    """
    return 3 * cpus * max(32, 2 * cpus) * page_size


def is_recorder(vma: Vma) -> bool:
    """Whether a mapping is memtwin's, in a program that is being recorded."""
    return vma.start in RECORDER or vma.path.endswith(_RECORDER_FILE)


def kind_of(vma: Vma, below: Vma | None) -> str:
    """The line of a mapping that is not the allocator's; `below` is the mapping right under it, if it touches."""
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


def with_neighbours(snapshot: MapsSnapshot) -> Iterator[tuple[Vma, Vma | None]]:
    """Each mapping whose resident size is known with the one that ends where it begins; the recorder's are left out."""
    below = None
    for vma in snapshot.vmas:
        # [vsyscall] lies beyond the address space
        if vma.rss_bytes is not None and vma.path != "[vsyscall]" and not is_recorder(vma):
            yield vma, below if below is not None and below.end == vma.start else None
        below = vma


def recorder_bytes(snapshot: MapsSnapshot) -> int:
    """What the recorder has in RAM."""
    return sum(vma.rss_bytes or 0 for vma in snapshot.vmas if is_recorder(vma))


def first_guess(snapshot: MapsSnapshot | None) -> Moment:
    """What is resident from the start: the files and stacks of the first snapshot that tells."""
    if snapshot is None:
        return Moment(0)
    lines = dict(NOTHING)
    for vma, below in with_neighbours(snapshot):
        kind = kind_of(vma, below)
        if kind != "other" and vma.path != "[heap]":
            lines[kind] += vma.rss_bytes or 0
    return Moment(0, lines, recorder_bytes(snapshot))


def measure(snapshot: MapsSnapshot, twin: Twin) -> Moment:
    """What a snapshot with resident sizes says; it holds from the event after it.

    The kernel makes one mapping of the allocator's and the program's memory where they touch: the program has what
    the twin's allocator does not account for. A mapping that is the allocator's alone and has more or less in RAM
    than the twin says is unexplained by the difference.
    """
    lines = dict(NOTHING)
    for vma, below in with_neighbours(snapshot):
        rss = vma.rss_bytes or 0
        foreign = twin.mappings.foreign.within(vma.start, vma.end)
        foreign_bytes = sum(one.end - one.start for one in foreign)
        if foreign_bytes == vma.end - vma.start:
            lines[kind_of(vma, below)] += rss
            continue
        rest = rss - twin.resident(vma.start, vma.end)
        explained = min(max(rest, 0), foreign_bytes)
        lines[kind_of(vma, below) if foreign else "other"] += explained
        lines["unexplained"] += rest - explained
    return Moment(snapshot.event + 1, lines, recorder_bytes(snapshot))


def settle(moment: Moment, event: int, besides: int, slack: int) -> Moment | None:
    """The moment after a sample that found `besides` bytes that are not the allocator's, the recorder's included.

    None when it is no news, being off by less than `slack` bytes.
    """
    off = besides - moment.recorder - moment.total
    if abs(off) <= slack:
        return None
    return Moment(event, {**moment.lines, "unexplained": moment.lines["unexplained"] + off}, moment.recorder)
