# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Page tables: the radix tree that the processor walks, three to five levels of it.

A table fills one frame: page_size / 8 entries of 8 bytes, kept in the frame's own bytes. An address is cut into one
index a level and the offset in the page; here 4 levels and 4 KiB pages:

    47        39 38        30 29        21 20        12 11          0
   +------------+------------+------------+------------+-------------+
   |    PGD     |    PUD     |    PMD     |    PTE     |   offset    |
   +------------+------------+------------+------------+-------------+

An entry of an upper table holds the PFN of the lower one, or with PTE_HUGE set maps a huge page itself; entries of the
last level are drawn in flags.py. A table comes with the first page that needs it and goes, as on Linux, when the VMAs
around it are gone (mm/memory.c, free_pgd_range), not when its last entry does.
"""

from __future__ import annotations

from collections.abc import Iterator

import cython

from memtwin.kernel.frames import Frames

if not cython.compiled:
    from memtwin.hostmem import load8, load64, store8, store16, store64
    from memtwin.kernel.flags import FRAME_TABLE, HUGE_TABLE, NO_FRAME, PTE_HUGE, PTE_MAPPED, TABLE_BITS

    def small_pte(entry: int, offset: int, page_shift: int) -> int:
        """What a PTE would say of the page at `offset` bytes of a huge page that `entry` maps."""
        return (entry & ~PTE_HUGE) + (offset >> page_shift << page_shift)


class PageTable:
    """The page table of one address space.

    tables: tables of all levels but the topmost, what VmPTE counts. span: bytes that one table of the last level maps.
    huge: how many of those map a huge page. reserved: how many entries with PTE_HUGE there are, which map reserved huge
    pages. group: who is charged for a new table, None: nobody.
    """

    def __init__(self, frames: Frames, levels: int) -> None:
        self.frames = frames
        self.group = frames.root
        self.levels = levels
        self.page_shift = self.frames.page_shift
        self.bits = self.page_shift - 3
        self.table_shift = self.page_shift + self.bits
        self.span = 1 << self.table_shift
        self.cached_number = 0
        self.cached_table = 0
        self.tables = self.reach = self.huge = self.reserved = self.reserved_size = 0
        self.root = self.new_table()
        self.tables = 0

    def new_table(self) -> int:
        """An empty table: its host address; 0 when no frame is free."""
        pfn = self.frames.alloc(0)
        if pfn == NO_FRAME:
            return 0
        store16(self.frames.flags_at + 2 * pfn, FRAME_TABLE)
        if self.group is not None:
            store8(self.frames.group_at + pfn, self.group.number)
            self.group.charge_table(1)
        self.tables += 1
        return self.frames.storage + (pfn << self.page_shift)

    def find(self, address: int) -> int:
        """Host address of the last-level table for `address`, or 0; `reach` is where that answer ends holding."""
        if address >> self.table_shift == self.cached_number and self.cached_table:
            self.reach = ((address >> self.table_shift) + 1) << self.table_shift
            return self.cached_table
        shift = self.page_shift + self.bits * (self.levels - 1)
        table = self.root
        if table == 0:
            self.reach = 1 << (shift + self.bits)
            return 0
        while True:
            entry = load64(table + 8 * ((address >> shift) & ((1 << self.bits) - 1)))
            if entry == 0 or entry & PTE_HUGE:
                self.reach = ((address >> shift) + 1) << shift
                return 0
            table = self.frames.storage + (entry >> self.page_shift << self.page_shift)
            if shift == self.table_shift:
                break
            shift -= self.bits
        self.reach = ((address >> shift) + 1) << shift
        self.cached_number = address >> self.table_shift
        self.cached_table = table
        return table

    def entry(self, address: int) -> int:
        """Host address of the PTE for `address`; 0 when there is no table for it."""
        table = self.find(address)
        if table == 0:
            return 0
        return table + 8 * ((address >> self.page_shift) & ((1 << self.bits) - 1))

    def make(self, address: int) -> int:
        """Host address of the PTE for `address`, its tables made if need be; 0 when no frame is free or it is huge."""
        table = self.find(address)
        if table == 0:
            at = self.make_upper(address)
            if at == 0 or load64(at) & PTE_HUGE:
                return 0
            if load64(at) == 0:
                table = self.new_table()
                if table == 0:
                    return 0
                store64(at, (table - self.frames.storage) | TABLE_BITS)
            table = self.find(address)
        return table + 8 * ((address >> self.page_shift) & ((1 << self.bits) - 1))

    def make_upper(self, address: int) -> int:
        """Host address of the entry that leads to the last-level table (a PMD entry), the tables above it made; 0 when
        no frame is free."""
        return self.make_at(address, self.table_shift)

    def make_at(self, address: int, level_shift: int) -> int:
        """`make_upper` for the entry that stands for 2**level_shift bytes."""
        shift = self.page_shift + self.bits * (self.levels - 1)
        table = self.root
        if table == 0:
            return 0
        while shift > level_shift:
            at = table + 8 * ((address >> shift) & ((1 << self.bits) - 1))
            if load64(at) == 0:
                table = self.new_table()
                if table == 0:
                    return 0
                store64(at, (table - self.frames.storage) | TABLE_BITS)
            else:
                table = self.frames.storage + (load64(at) >> self.page_shift << self.page_shift)
            shift -= self.bits
        return table + 8 * ((address >> shift) & ((1 << self.bits) - 1))

    def upper(self, address: int) -> int:
        """Host address of the entry that leads to the last-level table, or 0; `reach` as for `find`."""
        return self.level_at(address, self.table_shift)

    def level_at(self, address: int, level_shift: int) -> int:
        """`upper` for the entry that stands for 2**level_shift bytes."""
        shift = self.page_shift + self.bits * (self.levels - 1)
        table = self.root
        while shift > level_shift:
            entry = load64(table + 8 * ((address >> shift) & ((1 << self.bits) - 1)))
            if entry == 0 or entry & PTE_HUGE:
                self.reach = ((address >> shift) + 1) << shift
                return 0
            table = self.frames.storage + (entry >> self.page_shift << self.page_shift)
            shift -= self.bits
        self.reach = ((address >> shift) + 1) << shift
        return table + 8 * ((address >> shift) & ((1 << self.bits) - 1))

    def reserved_at(self, address: int) -> int:
        """Host address of the entry that maps the reserved huge page at `address`, or 0; `reach` as for `find`.

        `reserved_size` is that page's size, bytes."""
        shift = self.page_shift + self.bits * (self.levels - 1)
        table = self.root
        while table and shift >= self.table_shift:
            at = table + 8 * ((address >> shift) & ((1 << self.bits) - 1))
            entry = load64(at)
            self.reach = ((address >> shift) + 1) << shift
            if entry == 0 or entry & PTE_HUGE:
                self.reserved_size = 1 << shift
                return at if entry else 0
            table = self.frames.storage + (entry >> self.page_shift << self.page_shift)
            shift -= self.bits
        return 0

    def pte(self, address: int) -> int:
        """The PTE of the page at `address`, or what a reserved huge page's entry says of it; 0: nothing."""
        at = self.entry(address)
        if at:
            return load64(at)
        at = self.reserved_at(address) if self.reserved else 0
        return small_pte(load64(at), address & (self.reserved_size - 1), self.page_shift) if at else 0

    def is_huge(self, address: int) -> bool:
        """Whether a huge page is mapped at `address`."""
        at = self.upper(address)
        return at != 0 and load64(at) & HUGE_TABLE != 0

    def set_huge(self, address: int) -> None:
        """The last-level table for `address`, which is there, stands for a huge page."""
        at = self.upper(address)
        store64(at, load64(at) | HUGE_TABLE)
        self.huge += 1

    def clear_huge(self, address: int) -> None:
        """The table that stood for a huge page stands for its single pages."""
        at = self.upper(address)
        store64(at, load64(at) & ~HUGE_TABLE)
        self.huge -= 1

    def forget(self) -> None:
        """The tables have been rearranged: what `find` remembers may be wrong."""
        self.cached_table = 0

    def free_table(self, entry_at: int) -> None:
        """Free the table that an upper entry leads to; all its entries are empty."""
        pfn = load64(entry_at) >> self.page_shift
        store64(entry_at, 0)
        self.give_table(pfn)
        self.tables -= 1
        self.cached_table = 0

    def counted(self) -> int:
        """What VmPTE counts: all tables but the topmost and, of five levels, but those of the second (P4D), for which
        the kernel has no counter (include/linux/mm.h: mm_inc_nr_puds, mm_inc_nr_pmds, mm_inc_nr_ptes)."""
        left = self.tables
        if self.levels == 5 and self.root:
            for i in range(1 << self.bits):
                if load64(self.root + 8 * i):
                    left -= 1
        return int(left)

    def give_table(self, pfn: int) -> None:
        """The frame of a table is free, its group no longer charged."""
        if self.group is not None:
            group = self.frames.groups[load8(self.frames.group_at + pfn)]
            group.charge_table(-1)
        store16(self.frames.flags_at + 2 * pfn, 0)
        self.frames.give(pfn, 0)

    def free_range(self, start: int, end: int, floor: int, ceiling: int) -> None:
        """Free the tables of [start, end) that serve nothing else within [floor, ceiling); ceiling 0 is the very top.

        floor and ceiling are the end of the VMA below and the start of the one above (free_pgtables).
        """
        self.free_below(self.root, self.levels, start, end, floor, ceiling)

    def free_below(self, table: int, level: int, start: int, end: int, floor: int, ceiling: int) -> None:
        """`free_range` for the tables that one table of `level` (the last is 1) leads to."""
        shift = self.page_shift + self.bits * (level - 1)
        while start < end:
            beyond = ((start >> shift) + 1) << shift
            at = table + 8 * ((start >> shift) & ((1 << self.bits) - 1))
            entry = load64(at)
            if entry and not entry & PTE_HUGE:
                stop = beyond if beyond < end else end
                lower = self.frames.storage + (entry >> self.page_shift << self.page_shift)
                if level > 2:
                    self.free_below(lower, level - 1, start, stop, floor, ceiling)
                if start >> shift << shift >= floor and (ceiling == 0 or beyond <= ceiling):
                    self.free_table(at)
            start = beyond

    def release(self) -> None:
        """Free the topmost table, the others being gone; from now on nothing can be mapped."""
        self.give_table((self.root - self.frames.storage) >> self.page_shift)
        self.root = self.cached_table = 0

    def entries(self) -> Iterator[tuple[int, int, int]]:
        """All entries that map something, or hold a swap slot or a marker: (address, entry, bytes mapped by it)."""
        yield from self._entries_of(self.root, self.levels, 0)

    def _entries_of(self, table: int, level: int, base: int) -> Iterator[tuple[int, int, int]]:
        shift = self.page_shift + self.bits * (level - 1)
        for index in range(1 << self.bits):
            entry = load64(table + 8 * index)
            address = base + (index << shift)
            if entry and (level == 1 or entry & PTE_HUGE):
                yield address, entry, 1 << shift
            elif entry:
                lower = self.frames.storage + (entry >> self.page_shift << self.page_shift)
                yield from self._entries_of(lower, level - 1, address)

    def path(self, address: int) -> Iterator[tuple[int, bool]]:
        """The entries that lead to `address`, the topmost first, each with whether it leads on; ends where it ends."""
        shift = self.page_shift + self.bits * (self.levels - 1)
        table = self.root
        while True:
            entry = load64(table + 8 * ((address >> shift) & ((1 << self.bits) - 1)))
            yield entry, bool(entry & PTE_MAPPED)
            if shift == self.page_shift or not entry & PTE_MAPPED or entry & PTE_HUGE:
                return
            table = self.frames.storage + (entry >> self.page_shift << self.page_shift)
            shift -= self.bits

    def table_frames(self) -> list[int]:
        """The PFNs of all tables, the topmost first."""
        found = [(self.root - self.frames.storage) >> self.page_shift]
        self._add_tables(found, self.root, self.levels)
        return found

    def _add_tables(self, found: list[int], table: int, level: int) -> None:
        for index in range(1 << self.bits):
            entry = load64(table + 8 * index)
            if level > 1 and entry and not entry & PTE_HUGE:
                found.append(entry >> self.page_shift)
                lower = self.frames.storage + (entry >> self.page_shift << self.page_shift)
                self._add_tables(found, lower, level - 1)
