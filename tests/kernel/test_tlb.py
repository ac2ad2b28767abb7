# SPDX-License-Identifier: LGPL-2.1-or-later
"""The TLB model against a plain second one, and what is known of streams by arithmetic."""

from __future__ import annotations

import random
from collections import OrderedDict

import numpy as np
import pytest

from memtwin.errors import UserError
from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.machine import Machine
from memtwin.kernel.tlb import SHAPES, Tlb, TlbShape

PAGE = 4096


class PlainTlb:
    """The same by ordered dictionaries, one a set; small pages only."""

    def __init__(self, shape: TlbShape) -> None:
        self.first = [OrderedDict[tuple[int, int], None]() for _ in range(shape.small_sets)]
        self.second = [OrderedDict[tuple[int, int], None]() for _ in range(shape.second_sets)]
        self.shape, self.asid, self.result = shape, 0, [0, 0, 0]

    def access(self, address: int) -> None:
        number = address // PAGE
        entry = (self.asid, number)
        first = self.first[number % len(self.first)]
        if entry in first:
            first.move_to_end(entry)
            self.result[0] += 1
            return
        if self.second:
            second = self.second[number % len(self.second)]
            if entry in second:
                second.move_to_end(entry)
                self.result[1] += 1
            else:
                self.result[2] += 1
                self.fill(second, entry, self.shape.second_ways)
        else:
            self.result[2] += 1
        self.fill(first, entry, self.shape.small_ways)

    def fill(self, entries: OrderedDict[tuple[int, int], None], entry: tuple[int, int], ways: int) -> None:
        if len(entries) == ways:
            entries.popitem(last=False)
        entries[entry] = None


@pytest.mark.parametrize("shape", [*SHAPES.values(), TlbShape(4, 2, 2, 2, 8, 3, 6), TlbShape(1, 1, 1, 1, 0, 0, 6)])
def test_random_streams_of_several_spaces(shape: TlbShape) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    tlb, plain = Tlb(shape), PlainTlb(shape)
    spaces = [object(), object(), object()]
    for _ in range(30):
        if shape.asids:
            space = dice.randrange(3)
            tlb.switch(spaces[space])
            plain.asid = space
        width = dice.choice((4, 30, 200, 5000))
        stream = [dice.randrange(width) * PAGE + dice.randrange(PAGE) for _ in range(300)]
        tlb.access(stream)
        for address in stream:
            plain.access(address)
    counts = tlb.counts
    assert [counts.first_hits, counts.second_hits, counts.walks] == plain.result
    assert counts.accesses == 9000
    assert counts.walk_loads == 4 * counts.walks


def test_a_stream_by_arithmetic() -> None:
    """A loop over one page more than a fully associative array holds never hits it; over as many as it holds always."""
    for pages, walks in ((16, 16), (17, 170)):
        tlb = Tlb("textbook")
        tlb.access(np.tile(np.arange(pages, dtype=np.uint64) * PAGE, 10))
        assert tlb.counts.walks == walks
        assert tlb.counts.accesses == 10 * pages


def test_flushes() -> None:
    tlb = Tlb()
    tlb.access([0, PAGE])
    tlb.flush_page(0)
    tlb.access([0, PAGE])
    assert (tlb.counts.walks, tlb.counts.first_hits) == (3, 1)
    tlb.flush()
    tlb.access([0, PAGE])
    assert (tlb.counts.walks, tlb.counts.flushes) == (5, 1)


def test_linuxs_address_space_identifiers() -> None:
    """Six spaces live side by side; the seventh takes the place of the first."""
    tlb, spaces = Tlb(), [object() for _ in range(7)]
    for space in spaces[:6] * 2:
        tlb.switch(space)
        tlb.access([0])
    assert tlb.counts.walks == 6
    tlb.switch(spaces[6])
    tlb.access([0])
    tlb.switch(spaces[1])
    tlb.access([0])
    assert tlb.counts.walks == 7
    tlb.switch(spaces[0])
    tlb.access([0])
    assert tlb.counts.walks == 8


def test_it_decides_nothing() -> None:
    space = AddressSpace(Machine(), window_bits=32)
    base = space.sys_mmap(0, 64 * PAGE, 3, 0x22, None, 0)
    tlb = Tlb()
    tlb.switch(space)
    tlb.access(base + np.arange(64, dtype=np.uint64) * PAGE, space)
    assert (space.min_flt, space.rss_pages, tlb.counts.walks) == (0, 0, 64)
    assert tlb.counts.miss_ratio == 1.0


def test_bad_shapes() -> None:
    with pytest.raises(UserError, match="power of two"):
        Tlb(TlbShape(small_sets=3))
    with pytest.raises(UserError, match="no TLB 'pentium'"):
        Tlb("pentium")
    with pytest.raises(UserError, match="identifiers"):
        Tlb(TlbShape(asids=5000))
