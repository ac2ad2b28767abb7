# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an observer sees of a twin: small frozen records, made by process.py and machine.py, drawn by pictures/.

Nothing here refers to the twin that it was taken from: a view stays what it was while the twin goes on, so that two
of them can be compared. Addresses and sizes are bytes, frames and slots are numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Region:
    """A mapping. kind: "text", "rodata", "data", "bss", "heap", "mapping", "library", "stack" or "kernel" (vdso)."""

    start: int
    end: int
    permissions: str  # as in /proc/PID/maps: "rw-p"
    name: str  # path, "[heap]" or ""
    kind: str
    resident: int = 0  # pages in memory


@dataclass(frozen=True)
class AddressSpaceView:
    """The regions of a process from low to high, and where its break is."""

    pid: int
    regions: tuple[Region, ...]
    brk_start: int = 0
    brk_end: int = 0


@dataclass(frozen=True)
class Page:
    """One page of a process. state: "absent", "zero", "anonymous", "file", "shared" or "swapped".

    frame: the frame it lies in, None when it lies in none; slot: the swap slot, None when it has none.
    """

    address: int
    state: str
    frame: int | None = None
    slot: int | None = None
    writable: bool = False
    dirty: bool = False
    accessed: bool = False


@dataclass(frozen=True)
class PagesView:
    """Some pages of one process in the order of their addresses."""

    pid: int
    page_size: int
    pages: tuple[Page, ...]


@dataclass(frozen=True)
class Frame:
    """A page frame. kind: "free", "anonymous", "file", "shared", "table", "zero" or "kernel".

    owners: the (pid, address) pairs that map it; references: its reference count.
    """

    number: int
    kind: str
    owners: tuple[tuple[int, int], ...] = ()
    references: int = 0


@dataclass(frozen=True)
class FramesView:
    """The frames of a machine, or a window of them."""

    total: int
    free: int
    frames: tuple[Frame, ...]


@dataclass(frozen=True)
class WalkLevel:
    """One step of a page-table walk: the table's name ("PGD" … "PTE"), the index in it, the entry found there."""

    name: str
    index: int
    entry: int
    present: bool


@dataclass(frozen=True)
class WalkView:
    """How an address is translated: one level after the other, then the offset in the page."""

    address: int
    levels: tuple[WalkLevel, ...]
    offset: int
    offset_bits: int
    frame: int | None


@dataclass(frozen=True)
class Chunk:
    """A piece of a heap. address: of the chunk, header included; pointer: what malloc returned.

    state: "live", "tcache", "fastbin", "bin", "top", "mmapped" or "fence"; list: the free list it is on, such as
    "tcache 0x30", "unsorted", "small 0x90", "" when it is on none; label: the name a script gave it.
    """

    address: int
    size: int
    state: str
    list: str = ""
    label: str = ""

    @property
    def pointer(self) -> int:
        return self.address + 16


@dataclass(frozen=True)
class FreeList:
    """A free list from its head: name and the addresses of its chunks in list order."""

    name: str
    chunks: tuple[int, ...]


@dataclass(frozen=True)
class HeapView:
    """One heap: all of its chunks from low to high, and the free lists that lead through them."""

    start: int
    end: int
    chunks: tuple[Chunk, ...]
    lists: tuple[FreeList, ...] = ()
    arena: str = "main"


@dataclass(frozen=True)
class BuddyView:
    """Free blocks by order: free[k] holds the first frames of the free blocks of 2**k frames; total frames in all."""

    total: int
    free: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class SwapView:
    """The swap device: owners[slot] is "" for a free slot, else whose page lies there."""

    owners: tuple[str, ...]


@dataclass(frozen=True)
class TlbView:
    """A translation look-aside buffer: per set the (page number, frame) of its ways, most recent first; counts."""

    sets: tuple[tuple[tuple[int, int], ...], ...]
    ways: int
    hits: int = 0
    misses: int = 0


@dataclass(frozen=True)
class Event:
    """Something that happened: the step it happened in, its kind ("minor fault", "split" …), and one sentence."""

    step: int
    kind: str
    sentence: str


@dataclass(frozen=True)
class TimelineView:
    """Figures over time: series by name, each a list of (time, bytes), and the events to mark."""

    unit: str
    series: dict[str, tuple[tuple[float, float], ...]]
    events: tuple[Event, ...] = field(default=())
