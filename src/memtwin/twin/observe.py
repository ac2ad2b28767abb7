# SPDX-License-Identifier: LGPL-2.1-or-later
"""Looking at a process without touching it: its regions, pages and translation as views; see heapview and explain.

Everything is read from page tables and frames, never by an access of the process: nothing here causes a fault.
"""

from __future__ import annotations

import ctypes
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memtwin.errors import UserError
from memtwin.kernel.entries import places, touched
from memtwin.kernel.flags import (
    FRAME_FILE,
    PTE_DIRTY,
    PTE_GUARD,
    PTE_HUGE,
    PTE_MAPPED,
    PTE_SWAP,
    PTE_WRITABLE,
    PTE_ZERO,
    VM_PKEY,
)
from memtwin.kernel.procfs import vma_name
from memtwin.kernel.tlb import Tlb
from memtwin.kernel.vma import Vma
from memtwin.libc.peek import peek
from memtwin.views import (
    AddressSpaceView,
    Page,
    PagesView,
    PagingView,
    Region,
    TlbView,
    WalkLevel,
    WalkView,
    WordView,
)

if TYPE_CHECKING:
    from memtwin.twin.process import Process

_ACCESSED = 0x20
_EVERY = 1 << 52  # more than there are numbers of frames or slots
_PAGE_NUMBER = (1 << 50) - 1  # of an entry of kernel/tlb.py
_LEVELS = {5: ("PGD", "P4D", "PUD", "PMD", "PTE"), 4: ("PGD", "PUD", "PMD", "PTE"), 3: ("PGD", "PMD", "PTE"),
           2: ("PGD", "PTE")}  # fmt: skip


@dataclass(frozen=True)
class Mapped:
    """What a page-table entry says of the page at `address`."""

    address: int
    entry: int
    size: int  # bytes that the entry maps

    @property
    def swapped(self) -> bool:
        return bool(self.entry & PTE_SWAP)

    def frame(self, shift: int) -> int:
        return self.entry >> shift


class Sight:
    """A process's pages, seen through its page table; good until the process goes on."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.frames = process.machine.kernel.frames
        self.shift: int = process.space.page_shift
        self.page: int = 1 << self.shift

    def mapped(self, address: int) -> Mapped | None:
        """The entry for the page at `address`; None where there is none, or the page table is gone."""
        if self.process.ended is not None:
            return None
        tables = self.process.space.pages
        place = tables.entry(address)
        if place:
            entry = ctypes.c_uint64.from_address(place).value
            return Mapped(address, entry, self.page) if entry else None
        for level, (entry, _) in enumerate(tables.path(address)):
            if entry & PTE_HUGE:
                size = 1 << self.shift + (self.shift - 3) * (tables.levels - 1 - level)
                return Mapped(address & -size, entry, size)
        return None

    def huge(self, address: int) -> Mapped | None:
        """The entry that maps the huge page at `address`, transparent or reserved; None where there is none."""
        if self.process.ended is not None:
            return None
        tables = self.process.space.pages
        if tables.is_huge(address):
            size = self.page << self.shift - 3
            first = tables.entry(address & -size)
            return Mapped(address & -size, ctypes.c_uint64.from_address(first).value | PTE_HUGE, size)
        mapped = self.mapped(address)
        return mapped if mapped is not None and mapped.size > self.page else None

    def vma(self, address: int) -> Vma | None:
        """The VMA that holds `address`."""
        return next((vma for vma in self.process.space.vmas() if vma.start <= address < vma.end), None)

    def is_guard(self, address: int) -> bool:
        """Whether the page at `address` is a guard (MADV_GUARD_INSTALL)."""
        mapped = self.mapped(address)
        return mapped is not None and bool(mapped.entry & PTE_GUARD) and not mapped.entry & (PTE_MAPPED | PTE_SWAP)

    def is_execute_only(self, address: int) -> bool:
        """Whether a protection key keeps loads and stores out of the page at `address` (kernel/protect.py)."""
        vma = self.vma(address)
        return vma is not None and bool(vma.flags & VM_PKEY)

    def is_of_file(self, address: int) -> bool:
        """Whether the page at `address` comes from a file when it is touched."""
        vma = self.vma(address)
        return vma is not None and vma.inode is not None and not vma.inode.in_memory

    def is_past_end(self, address: int) -> bool:
        """Whether the page at `address` lies behind the end of the file, or memory object, that is mapped there."""
        vma = self.vma(address)
        if vma is None or vma.inode is None:
            return False
        return bool((vma.pgoff << self.shift) + (address & -self.page) - vma.start >= vma.inode.size)

    def touched(self, start: int, end: int) -> list[int]:
        """The addresses of the pages of [start, end) with an entry, from low to high."""
        return touched(self.process.space.pages, start, end) if self.process.ended is None else []

    def places(self, bits: int, first: int, last: int) -> list[tuple[int, int]]:
        """(address, number) of all pages whose entry has one of `bits` set, and the frame or slot `number` of
        [first, last)."""
        return places(self.process.space.pages, bits, first, last) if self.process.ended is None else []

    def home(self, address: int) -> int:
        """Host address of the bytes of the page that holds `address`; 0 when it has none: absent, or all zeros."""
        mapped = self.mapped(address & -self.page)
        if mapped is None or not mapped.entry & PTE_MAPPED or mapped.entry & PTE_ZERO:
            return 0
        frame = mapped.frame(self.shift) + ((address - mapped.address) >> self.shift)
        return int(self.frames.state(frame)["home"])

    def word(self, address: int) -> int:
        """The word, as wide as a pointer of the process, at an aligned address; 0 where nothing is."""
        return int(peek(self.process.space, address, self.process.word))

    def page_at(self, address: int) -> Page:
        """The state of the page that holds `address`."""
        address &= -self.page
        mapped = self.mapped(address)
        if mapped is None:
            return Page(address, "absent")
        number = mapped.frame(self.shift) + ((address - mapped.address) >> self.shift)
        if mapped.swapped:
            return Page(address, "swapped", slot=number)
        if not mapped.entry & PTE_MAPPED:
            return Page(address, "absent")
        bits = mapped.entry
        flags = bool(bits & PTE_WRITABLE), bool(bits & PTE_DIRTY), bool(bits & _ACCESSED)
        return Page(address, self._state(bits, number), number, None, *flags)

    def _state(self, bits: int, frame: int) -> str:
        if bits & PTE_ZERO:
            return "zero"
        known = self.frames.state(frame)
        if known["mapped"] > 1:
            return "shared"
        return "file" if known["flags"] & FRAME_FILE else "anonymous"


def address_space(process: Process) -> AddressSpaceView:
    """All regions of a process."""
    space = process.space
    regions = tuple(
        Region(vma.start, vma.end, _permissions(vma.flags), vma_name(space, vma), _kind(process, vma),
               space.resident_pages(vma.start, vma.end))
        for vma in space.vmas()
    )  # fmt: skip
    return AddressSpaceView(process.pid, regions, space.brk_start, space.brk_end, space.page_size)


def _permissions(flags: int) -> str:
    rights = "".join(letter if flags & bit else "-" for letter, bit in (("r", 1), ("w", 2), ("x", 4)))
    return rights + ("s" if flags & 8 else "p")


def _kind(process: Process, vma: Vma) -> str:
    label = vma_name(process.space, vma)
    if label in ("[heap]", "[stack]"):
        return label[1:-1]
    if label.startswith("[v"):
        return "kernel"
    if label.startswith("/") and "lib" not in label and vma.start < process.space.brk_start:
        return "text" if vma.flags & 4 else "data" if vma.flags & 2 else "rodata"
    if label.startswith(("/lib", "/usr/lib")):
        return "library"
    return "bss" if vma.start < process.space.brk_start else "mapping"


def pages(process: Process, start: int, count: int) -> PagesView:
    """`count` pages from the one that holds `start` on, to the end of all addresses at most."""
    sight = Sight(process)
    first = start & -sight.page
    last = min(first + count * sight.page, 1 << 64)
    return PagesView(process.pid, sight.page, tuple(map(sight.page_at, range(first, last, sight.page))))


def touched_pages(process: Process, most: int = 32, around: int = 0) -> PagesView:
    """The pages of heap, mappings and bss that have an entry, without the data that every process keeps resident; of
    more than `most`, those with the address `around` in their middle."""
    sight = Sight(process)
    spans = [(r.start, r.end) for r in address_space(process).regions if r.kind in ("heap", "mapping", "bss")]
    found = [address for start, end in spans for address in sight.touched(start, end)]
    first = max(0, min(bisect_left(found, around & -sight.page) - most // 2, len(found) - most))
    shown = tuple(sight.page_at(at) for at in found[first : first + most])
    return PagesView(process.pid, sight.page, shown, left_out=len(found) - len(shown))


def swapped_pages(process: Process) -> list[tuple[int, int]]:
    """(address, slot) of each page of a process that lies on the swap device."""
    return Sight(process).places(PTE_SWAP, 0, _EVERY)


def pages_in(process: Process, first: int, last: int) -> list[tuple[int, int]]:
    """(address, frame) of each page of a process that lies in one of the frames [first, last)."""
    return Sight(process).places(PTE_MAPPED, first, last)


def paging(process: Process, start: int, count: int) -> PagingView:
    """`count` pages from the one that holds `start` on, and the swap device: what lies in RAM and what on the disk."""
    return PagingView(pages(process, start, count), process.machine.swap())


def word(process: Process, address: int, length: int = 8) -> WordView:
    """`length` bytes from `address` on, within one page, without an access of the process; zeros where nothing is."""
    sight = Sight(process)
    if not 0 < length <= sight.page - address % sight.page:
        raise UserError(f"{length} bytes at {address:#x}: from 1 to the end of the page")
    home = sight.home(address)
    data = ctypes.string_at(home + address % sight.page, length) if home else bytes(length)
    return WordView(address, data, sight.page)


def tlb(buffer: Tlb, process: Process) -> TlbView:
    """The first level's small pages of a TLB that watches `process`, with the frames that their entries lead to."""
    sight = Sight(process)
    sets = tuple(
        tuple((entry & _PAGE_NUMBER, sight.page_at((entry & _PAGE_NUMBER) << sight.shift).frame or 0) for entry in ways)
        for ways in buffer.small.entries()
    )
    counts = buffer.counts
    return TlbView(sets, buffer.shape.small_ways, counts.first_hits + counts.second_hits, counts.walks)


def walk(process: Process, address: int) -> WalkView:
    """How the processor translates an address, table by table, down to the entry that ends it."""
    if process.ended is not None:
        raise UserError(f"process {process.pid} has ended: its page table is gone")
    tables = process.space.pages
    huge = Sight(process).huge(address)
    shift: int = process.space.page_shift
    bits = shift - 3
    found = []
    frame: int | None = None
    for number, (entry, present) in enumerate(tables.path(address)):
        at = shift + bits * (tables.levels - 1 - number)
        if huge is not None and huge.size == 1 << at:
            entry = huge.entry
        found.append(WalkLevel(_LEVELS[tables.levels][number], address >> at & (1 << bits) - 1, entry, present, at))
        if present and (at == shift or entry & PTE_HUGE):
            frame = (entry >> shift) + (address >> shift & (1 << at - shift) - 1)
            break
    end = found[-1].shift if frame is not None else shift
    return WalkView(address, tuple(found), address & (1 << end) - 1, end, bits, frame)
