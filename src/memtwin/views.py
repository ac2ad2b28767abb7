# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an observer sees of a twin: small frozen records, made by twin/, drawn by pictures/.

Nothing here refers to the twin that it was taken from: a view stays what it was while the twin goes on, so that two
of them can be compared. Addresses and sizes are bytes, frames and slots are numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from memtwin.units import format_size

if TYPE_CHECKING:
    from rich.console import RenderableType


class Drawn:
    """What can be drawn: a notebook shows its picture, a terminal (rich) its table."""

    def svg(self, before: Self | None = None, language: str = "en") -> str:
        """The picture as SVG text; before: an earlier view of the same thing, to frame what changed since; language:
        "en" or "ko"."""
        from memtwin.pictures import draw

        return draw(self, before, language)

    def _repr_svg_(self) -> str:
        return self.svg()

    def _repr_html_(self) -> str:
        return f"<figure>{self.svg()}</figure>"

    def __rich__(self) -> RenderableType:
        from memtwin.pictures import table

        return table(self)


@dataclass(frozen=True, repr=False)
class Region:
    """A mapping. kind: "text", "rodata", "data", "bss", "heap", "mapping", "library", "stack" or "kernel" (vdso)."""

    start: int
    end: int
    permissions: str  # as in /proc/PID/maps: "rw-p"
    name: str  # path, "[heap]" or ""
    kind: str
    resident: int = 0  # pages in memory

    @property
    def size(self) -> int:
        """Bytes from start to end."""
        return self.end - self.start

    def __repr__(self) -> str:
        return f"<Region {self.start:x}-{self.end:x} {self.permissions} {self.name or self.kind}>"


@dataclass(frozen=True, repr=False)
class AddressSpaceView(Drawn):
    """The regions of a process from low to high, and where its break is."""

    pid: int
    regions: tuple[Region, ...]
    brk_start: int = 0
    brk_end: int = 0
    page_size: int = 4096

    def at(self, address: int) -> Region | None:
        """The region that holds an address, or None."""
        return next((region for region in self.regions if region.start <= address < region.end), None)

    def __repr__(self) -> str:
        return f"<AddressSpaceView of process {self.pid}: {len(self.regions)} regions, break at {self.brk_end:#x}>"


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        place = f" in frame {self.frame}" if self.frame is not None else ""
        place += f" in slot {self.slot}" if self.slot is not None else ""
        return f"<Page {self.address:#x} {self.state}{place}>"


@dataclass(frozen=True, repr=False)
class PagesView(Drawn):
    """Some pages of one process in the order of their addresses. left_out: how many more there are that could have
    been among them."""

    pid: int
    page_size: int
    pages: tuple[Page, ...]
    left_out: int = 0

    def knows(self, address: int) -> bool:
        """Whether a page at that address would be among these."""
        return not self.left_out or bool(self.pages and self.pages[0].address <= address <= self.pages[-1].address)

    def __repr__(self) -> str:
        return f"<PagesView of process {self.pid}: {len(self.pages)} pages of {format_size(self.page_size)}>"


@dataclass(frozen=True)
class Frame:
    """A page frame. kind: "free", "anonymous", "file", "shared", "table", "zero" or "kernel".

    owners: the (pid, address) pairs that map it; references: its reference count.
    """

    number: int
    kind: str
    owners: tuple[tuple[int, int], ...] = ()
    references: int = 0


@dataclass(frozen=True, repr=False)
class FramesView(Drawn):
    """The frames of a machine, or a window of them."""

    total: int
    free: int
    frames: tuple[Frame, ...]

    def __repr__(self) -> str:
        return f"<FramesView: {self.total - self.free} of {self.total} frames in use>"


@dataclass(frozen=True)
class WalkLevel:
    """One step of a page-table walk: the table's name ("PGD" … "PTE"), the index in it, the entry found there.

    shift: how many bits of the address lie below those of the index.
    """

    name: str
    index: int
    entry: int
    present: bool
    shift: int


@dataclass(frozen=True, repr=False)
class WalkView(Drawn):
    """How an address is translated: one level after the other, then the offset in the page.

    The walk ends where an entry maps a page, early for a huge page, or where one is not present: frame is None then.
    frame: that of the smallest page that holds the address; offset: in the page that the last entry maps, whose number
    of bits is offset_bits. index_bits: how many bits of the address choose an entry of a table.
    """

    address: int
    levels: tuple[WalkLevel, ...]
    offset: int
    offset_bits: int
    index_bits: int
    frame: int | None

    def __repr__(self) -> str:
        steps = " ".join(f"{level.name}[{level.index}]" for level in self.levels)
        return f"<WalkView {self.address:#x}: {steps} -> {'no frame' if self.frame is None else f'frame {self.frame}'}>"


@dataclass(frozen=True, repr=False)
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
    word: int = 8  # bytes of a pointer

    @property
    def pointer(self) -> int:
        """What malloc returned for it: behind the two words of its header."""
        return self.address + 2 * self.word

    def __repr__(self) -> str:
        where = f" on {self.list}" if self.list else ""
        return f"<Chunk {self.address:#x} of {self.size} bytes, {self.state}{where}>"


@dataclass(frozen=True)
class FreeList:
    """A free list from its head: name and the addresses of its chunks in list order."""

    name: str
    chunks: tuple[int, ...]


def list_state(name: str) -> str:
    """The state of the chunks on a free list of that name."""
    return name.split()[0] if name.startswith(("tcache", "fastbin")) else "bin"


@dataclass(frozen=True, repr=False)
class HeapView(Drawn):
    """One heap: its chunks from low to high, and the free lists that lead through them. left_out: how many of its
    chunks are not among `chunks`, which then are neighbours."""

    start: int
    end: int
    chunks: tuple[Chunk, ...]
    lists: tuple[FreeList, ...] = ()
    arena: str = "main"
    left_out: int = 0

    def at(self, address: int) -> Chunk | None:
        """The chunk that holds an address, header included, or None."""
        return next((chunk for chunk in self.chunks if chunk.address <= address < chunk.address + chunk.size), None)

    def __repr__(self) -> str:
        size = format_size(self.end - self.start)
        return f"<HeapView of the {self.arena} arena: {len(self.chunks)} chunks, {len(self.lists)} free lists, {size}>"


@dataclass(frozen=True, repr=False)
class BuddyView(Drawn):
    """Free blocks by order: free[k] holds the first frames of the free blocks of 2**k frames; total frames in all."""

    total: int
    free: tuple[tuple[int, ...], ...]

    def __repr__(self) -> str:
        return f"<BuddyView: free blocks by order {[len(blocks) for blocks in self.free]}>"


@dataclass(frozen=True, repr=False)
class SwapView(Drawn):
    """The swap device: owners[slot] is None for a free slot, else whose page lies there: (pid, address)."""

    owners: tuple[tuple[int, int] | None, ...]

    @property
    def used(self) -> int:
        """How many slots are in use."""
        return sum(owner is not None for owner in self.owners)

    def __repr__(self) -> str:
        return f"<SwapView: {self.used} of {len(self.owners)} slots in use>"


@dataclass(frozen=True, repr=False)
class TlbView(Drawn):
    """A translation look-aside buffer: per set the (page number, frame) of its ways, most recent first; counts."""

    sets: tuple[tuple[tuple[int, int], ...], ...]
    ways: int
    hits: int = 0
    misses: int = 0

    def __repr__(self) -> str:
        return f"<TlbView: {len(self.sets)} sets of {self.ways}, {self.hits} hits, {self.misses} misses>"


@dataclass(frozen=True)
class Event:
    """Something that happened: the step it happened in, its kind ("minor fault", "split" …), and one sentence."""

    step: int
    kind: str
    sentence: str


@dataclass(frozen=True, repr=False)
class TimelineView(Drawn):
    """Figures over time: series by name, each a list of (time, bytes), and the events to mark."""

    unit: str
    series: dict[str, tuple[tuple[float, float], ...]]
    events: tuple[Event, ...] = field(default=())

    def __repr__(self) -> str:
        return f"<TimelineView: {', '.join(self.series)}; {len(self.events)} events>"


@dataclass(frozen=True, repr=False)
class EventsView(Drawn):
    """Events in the order in which they happened."""

    events: tuple[Event, ...]

    def __repr__(self) -> str:
        return f"<EventsView: {len(self.events)} events>"


@dataclass(frozen=True, repr=False)
class WordView(Drawn):
    """Some bytes at an address, in a page of `page_size` bytes: the chapter's page, word, byte and bit."""

    address: int
    data: bytes
    page_size: int

    def __repr__(self) -> str:
        return f"<WordView {self.address:#x}: {self.data.hex(' ')}>"


@dataclass(frozen=True)
class Member:
    """A member of a structure: its declaration ("int x[3]"), offset and size in bytes; of a bit-field its bits from the
    lowest of the structure on, else None."""

    name: str
    declared: str
    offset: int
    size: int
    bits: tuple[int, int] | None = None  # (first bit of the structure, number of bits)


@dataclass(frozen=True, repr=False)
class LayoutView(Drawn):
    """A structure or union as the compiler lays it out: size and alignment in bytes, members in declared order."""

    name: str
    size: int
    alignment: int
    members: tuple[Member, ...]
    cache_line: int = 64

    @property
    def holes(self) -> tuple[tuple[int, int], ...]:
        """(offset, size) of each run of bytes that belongs to no member: padding between members and at the end."""
        used = [False] * self.size
        for member in self.members:
            first, size = member.offset, member.size
            if member.bits is not None:
                first, size = member.bits[0] // 8, (sum(member.bits) + 7) // 8 - member.bits[0] // 8
            used[first : first + size] = [True] * size
        found: list[tuple[int, int]] = []
        for at, taken in enumerate(used):
            if taken:
                continue
            if found and sum(found[-1]) == at:
                found[-1] = found[-1][0], found[-1][1] + 1
            else:
                found.append((at, 1))
        return tuple(found)

    def __repr__(self) -> str:
        padding = sum(size for _, size in self.holes)
        return f"<LayoutView {self.name}: {self.size} bytes, {padding} of them padding, alignment {self.alignment}>"


@dataclass(frozen=True, repr=False)
class PagingView(Drawn):
    """RAM and disk at one moment: pages of a process, and the swap device."""

    pages: PagesView
    swap: SwapView

    def __repr__(self) -> str:
        out = sum(page.state == "swapped" for page in self.pages.pages)
        return f"<PagingView of process {self.pages.pid}: {len(self.pages.pages)} pages, {out} of them on disk>"
