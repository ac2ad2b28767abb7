# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""A model of a processor's TLB: it watches a stream of accesses and counts; nothing in the twin depends on it.

    address --> first level, small pages --+
            \\-> first level, huge pages ---+--> second level, both sizes --> page walk
                                                (or none)

Each array is set-associative: the low bits of the page number choose the set, the least recently used way of the set
is replaced. A hit in the second level and a walk both fill the first level's array for the page's size; a walk fills
the second level too. Entries carry an address space identifier (PCID), so that those of several processes live side by
side; what Linux makes of a switch is in `switch`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cython
import numpy as np

from memtwin.errors import UserError
from memtwin.kernel.addrspace import AddressSpace

if not cython.compiled:
    from memtwin.hostmem import fill, load64, release, reserve, store64

    VALID, HUGE_BIT, ASID_SHIFT = 1 << 63, 1 << 62, 50
    MOST_ASIDS = 4096
    ASID_MASK, WHOLE = (MOST_ASIDS - 1) << ASID_SHIFT, 2**64 - 1

LINUX_ASIDS = 6  # TLB_NR_DYN_ASIDS, arch/x86/mm/tlb.c


@dataclass(frozen=True)
class TlbShape:
    """Sets and ways of each array; sets are powers of two. second (0, 0): there is none.

    asids: how many address spaces' entries live side by side; 0: a switch flushes all. The defaults are those of an
    Intel Skylake core's data TLB (Intel 64 and IA-32 Architectures Optimization Reference Manual, Skylake's TLB table).
    """

    small_sets: int = 16
    small_ways: int = 4
    huge_sets: int = 8
    huge_ways: int = 4
    second_sets: int = 128
    second_ways: int = 12
    asids: int = LINUX_ASIDS


SHAPES = {
    "skylake": TlbShape(),
    "textbook": TlbShape(1, 16, 1, 4, 0, 0, 0),
}


@dataclass(frozen=True)
class TlbCounts:
    """How accesses ended: in the first level, in the second, or in a page walk. flushes: of everything or one space;
    walk_loads: page-table entries that the walks read."""

    accesses: int
    first_hits: int
    second_hits: int
    walks: int
    walk_loads: int
    flushes: int

    @property
    def miss_ratio(self) -> float:
        """Walks per access."""
        return self.walks / self.accesses if self.accesses else 0.0


class TlbArray:
    """One set-associative array with least-recently-used replacement: the ways of a set, most recent first."""

    def __init__(self, sets: int, ways: int) -> None:
        self.at = 0
        if sets < 0 or ways < 0 or sets & (sets - 1) or (sets == 0) != (ways == 0) or sets * ways > 1 << 24:
            raise UserError(f"TLB of {sets} sets and {ways} ways: sets are a power of two, or both are 0")
        self.sets = sets
        self.ways = ways
        self.bytes = (8 * sets * ways + 4095) & ~4095
        if self.bytes:
            self.at = reserve(self.bytes)
            if self.at == 0:
                raise UserError(f"the host gives no memory for a TLB of {sets} sets and {ways} ways")

    def __del__(self) -> None:
        if self.at:
            release(self.at, self.bytes)
            self.at = 0

    def hit(self, tag: int, number: int) -> bool:
        """Whether the entry is there; it is the most recent of its set then. number: the page's."""
        if self.ways == 0:
            return False
        base = self.at + 8 * self.ways * (number & (self.sets - 1))
        for way in range(self.ways):
            if load64(base + 8 * way) == tag:
                while way > 0:
                    store64(base + 8 * way, load64(base + 8 * (way - 1)))
                    way -= 1
                store64(base, tag)
                return True
        return False

    def put(self, tag: int, number: int) -> None:
        """Put in an entry that is not there; the set's least recent one goes."""
        if self.ways == 0:
            return
        base = self.at + 8 * self.ways * (number & (self.sets - 1))
        way = self.ways - 1
        while way > 0:
            store64(base + 8 * way, load64(base + 8 * (way - 1)))
            way -= 1
        store64(base, tag)

    def drop(self, mask: int, tag: int) -> None:
        """Forget every entry whose bits of `mask` are those of `tag`; the others of a set close up."""
        for number in range(self.sets):
            base = self.at + 8 * self.ways * number
            kept = 0
            for way in range(self.ways):
                entry = load64(base + 8 * way)
                if entry and entry & mask != tag:
                    store64(base + 8 * kept, entry)
                    kept += 1
            while kept < self.ways:
                store64(base + 8 * kept, 0)
                kept += 1

    def clear(self) -> None:
        """Forget everything."""
        if self.bytes:
            fill(self.at, 0, self.bytes)

    def entries(self) -> list[list[int]]:
        """The entries of each set, most recent first, for views: VALID and HUGE_BIT, the space's number, the page's."""
        found = []
        for number in range(self.sets):
            base = self.at + 8 * self.ways * number
            ways = [load64(base + 8 * way) for way in range(self.ways)]
            found.append([int(entry) for entry in ways if entry])
        return found


class Tlb:
    """A TLB of a given shape (one of SHAPES by name, or a TlbShape), empty, for pages of a machine.

    page_size: of small pages; a huge page is what one entry of the table above the last maps. levels: of page tables,
    which is what a walk costs; a walk to a huge page costs one less.
    """

    def __init__(self, shape: TlbShape | str = "skylake", page_size: int = 4096, levels: int = 4) -> None:
        if isinstance(shape, str):
            if shape not in SHAPES:
                raise UserError(f"no TLB {shape!r}: choose from {', '.join(SHAPES)}")
            shape = SHAPES[shape]
        if not 0 <= shape.asids < MOST_ASIDS:
            raise UserError(f"TLB with {shape.asids} address space identifiers: 0 to {MOST_ASIDS - 1}")
        self.shape = shape
        self.small_shift = page_size.bit_length() - 1
        self.huge_shift = 2 * self.small_shift - 3
        self.levels = levels
        self.small = TlbArray(shape.small_sets, shape.small_ways)
        self.huge = TlbArray(shape.huge_sets, shape.huge_ways)
        self.second = TlbArray(shape.second_sets, shape.second_ways)
        self.accesses = self.first_hits = self.second_hits = self.walks = self.walk_loads = self.flushes = 0
        self.asid = 0
        self.next_asid = 0
        self.spaces: list[Any] = [None] * max(shape.asids, 1)

    # watching

    def access(self, addresses: Any, space: AddressSpace | None = None) -> None:
        """Count a stream of accesses, in order. addresses: integers, an array of uint64 at best.

        space: whose page table says which pages are huge; without it all are small. The accesses themselves cause no
        fault there: a page that is absent counts as a small one.
        """
        stream = np.ascontiguousarray(addresses, dtype=np.uint64)
        self.watch(stream.ctypes.data, len(stream), space)

    def watch(self, at: int, count: int, space: AddressSpace | None) -> None:
        """`access` for `count` addresses at host address `at`."""
        asid = self.asid << ASID_SHIFT
        for i in range(count):
            address = load64(at + 8 * i)
            small_number = address >> self.small_shift
            huge_number = address >> self.huge_shift
            small_tag = VALID | asid | small_number
            huge_tag = VALID | HUGE_BIT | asid | huge_number
            if self.small.hit(small_tag, small_number) or self.huge.hit(huge_tag, huge_number):
                self.first_hits += 1
            elif self.second.hit(small_tag, small_number):
                self.second_hits += 1
                self.small.put(small_tag, small_number)
            elif self.second.hit(huge_tag, huge_number):
                self.second_hits += 1
                self.huge.put(huge_tag, huge_number)
            else:
                self.walk(address, space, small_tag, huge_tag)
        self.accesses += count

    def walk(self, address: int, space: AddressSpace | None, small_tag: int, huge_tag: int) -> None:
        """A page walk, and the entries that it leaves."""
        self.walks += 1
        if space is not None and is_huge(space, address):
            self.walk_loads += self.levels - 1
            self.huge.put(huge_tag, address >> self.huge_shift)
            self.second.put(huge_tag, address >> self.huge_shift)
        else:
            self.walk_loads += self.levels
            self.small.put(small_tag, address >> self.small_shift)
            self.second.put(small_tag, address >> self.small_shift)

    # what the kernel does to it

    def switch(self, space: Any) -> None:
        """The processor runs another address space from now on.

        With identifiers, as Linux has it on x86-64 (choose_new_asid): one of the last few spaces finds its entries
        again; another one gets the next identifier in turn, whose old entries go. Without, all entries go.
        """
        if self.shape.asids == 0:
            self.flush()
            return
        for asid, known in enumerate(self.spaces):
            if known is space:
                self.asid = asid
                return
        self.asid = self.next_asid
        self.next_asid = (self.next_asid + 1) % self.shape.asids
        self.spaces[self.asid] = space
        self.flush_space()

    def flush(self) -> None:
        """Forget everything."""
        self.flushes += 1
        self.small.clear()
        self.huge.clear()
        self.second.clear()

    def flush_space(self) -> None:
        """Forget the entries of the space that runs."""
        self.flushes += 1
        self.drop(ASID_MASK, self.asid << ASID_SHIFT)

    def flush_page(self, address: int) -> None:
        """Forget the entries, small and huge, for the page at `address` in the space that runs (invlpg)."""
        own = VALID | self.asid << ASID_SHIFT
        self.drop(WHOLE, own | address >> self.small_shift)
        self.drop(WHOLE, own | HUGE_BIT | address >> self.huge_shift)

    def drop(self, mask: int, tag: int) -> None:
        """`TlbArray.drop` in all arrays."""
        self.small.drop(mask, tag)
        self.huge.drop(mask, tag)
        self.second.drop(mask, tag)

    @property
    def counts(self) -> TlbCounts:
        """What was counted so far."""
        return TlbCounts(
            self.accesses, self.first_hits, self.second_hits, self.walks, self.walk_loads, self.flushes
        )  # fmt: skip


def is_huge(space: AddressSpace, address: int) -> bool:
    """Whether a huge page maps the address, a transparent or a reserved one, whose size is taken for the usual one."""
    if address >= space.task_size:
        return False
    pages = space.pages
    return bool(pages.is_huge(address) or (pages.reserved and pages.reserved_at(address)))
