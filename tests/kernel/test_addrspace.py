# SPDX-License-Identifier: LGPL-2.1-or-later
"""An address space alone: bytes, faults, counts and what it costs the host."""

from __future__ import annotations

import pytest

from memtwin.errors import SegmentationFault
from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.frames import validate_buddy
from memtwin.kernel.machine import Machine
from memtwin.kernel.vma import validate_tree

PAGE, READ, WRITE, ANON = 4096, 1, 2, 0x22


@pytest.fixture
def space() -> AddressSpace:
    return AddressSpace()


def test_a_touched_page_is_resident_and_its_bytes_are_stored_when_written(space: AddressSpace) -> None:
    free = space.frames.free
    at = space.sys_mmap(0, 1 << 20, 3, ANON, None, 0)
    assert at == space.mmap_base - (1 << 20)
    assert space.touch(at, 1 << 20, WRITE) == space.min_flt == space.rss_pages == 256
    assert space.touch(at, 1 << 20, WRITE) == 0
    space.write(at + 4090, b"across two pages")
    assert space.read(at + 4090, 18) == b"across two pages\0\0"
    assert space.min_flt == 256
    assert space.sys_munmap(at, 1 << 20) == 0
    assert (space.rss_pages, space.pages.tables, space.frames.free) == (0, 0, free)
    validate_buddy(space.frames)
    validate_tree(space.tree)


def test_pages_given_back_read_as_zeros_again(space: AddressSpace) -> None:
    at = space.sys_mmap(0, 64 * PAGE, 3, ANON, None, 0)
    for page in range(64):
        space.write(at + page * PAGE, b"stale")
    space.sys_madvise(at, 64 * PAGE, 4)
    assert space.read(at, 64 * PAGE) == bytes(64 * PAGE)
    space.sys_brk(space.brk_start + 8 * PAGE)
    space.write(space.brk_start + 7 * PAGE, b"stale")
    space.sys_brk(space.brk_start)
    space.sys_brk(space.brk_start + 8 * PAGE)
    assert space.read(space.brk_start + 7 * PAGE, 5) == bytes(5)


def test_mremap_moves_bytes_without_faults(space: AddressSpace) -> None:
    space.sys_mmap(0, PAGE, 1, ANON, None, 0)
    at = space.sys_mmap(0, 4 * PAGE, 3, ANON, None, 0)
    space.write(at, b"first")
    space.write(at + 3 * PAGE, b"last")
    to = space.sys_mremap(at, 4 * PAGE, 8 * PAGE, 1, 0)
    assert to == at - 8 * PAGE
    assert (space.read(to, 5), space.read(to + 3 * PAGE, 4)) == (b"first", b"last")
    assert space.min_flt == 2
    with pytest.raises(SegmentationFault):
        space.read(at, 1)
    assert space.sys_mmap(at, 4 * PAGE, 3, ANON | 0x10, None, 0) == at
    assert space.read(at, 5) == bytes(5)


def test_an_access_that_the_mapping_forbids_stops(space: AddressSpace) -> None:
    at = space.sys_mmap(0, PAGE, 1, ANON, None, 0)
    with pytest.raises(SegmentationFault) as stop:
        space.write(at + 8, b"x")
    assert (stop.value.address, stop.value.code) == (at + 8, 2)
    assert space.touch(at + PAGE, PAGE, READ) == 0
    assert (space.stop_signal, space.stop_code, space.stop_address) == (11, 1, at + PAGE)


def test_protection_taken_and_given_back_costs_no_fault(space: AddressSpace) -> None:
    at = space.sys_mmap(0, 16 * PAGE, 3, ANON, None, 0)
    space.touch(at, 16 * PAGE, WRITE)
    space.write(at, b"kept")
    assert space.sys_mprotect(at + PAGE, 2 * PAGE, 0) == 0
    assert len(space.vmas()) == 3
    assert space.sys_mprotect(at, 16 * PAGE, 3) == 0
    assert len(space.vmas()) == 1
    assert space.touch(at, 16 * PAGE, WRITE) == 0
    assert space.read(at, 4) == b"kept"


def test_resident_pages_of_any_range() -> None:
    space = AddressSpace()
    base = space.sys_mmap(0, 6 << 20, 3, 0x22, None, 0)
    written = [3, 4, 511, 512, 513, 1400]
    for page in written:
        space.touch(base + 4096 * page, 1, 2)
    space.touch(base + 4096 * 20, 1, 1)  # a read finds the zero page, which is nobody's
    for first, last in ((0, 1536), (4, 512), (5, 511), (513, 1400), (0, 0)):
        expected = sum(first <= page < last for page in written)
        assert space.resident_pages(base + 4096 * first, base + 4096 * last) == expected


def test_mappings_that_fold_onto_one_place_of_the_window_keep_their_bytes() -> None:
    space = AddressSpace(window_bits=32)
    low, high, higher = 0x10000000, 0x110000000, 0x310000000
    for at in (low, high, higher):
        assert space.sys_mmap(at, 4 * PAGE, 3, ANON | 0x10, None, 0) == at
    space.write(low, b"low")
    space.write(high, b"high")
    space.touch(higher, 4 * PAGE, WRITE)
    assert space.read(higher, 6) == bytes(6)
    space.write(higher + 100, b"higher")
    assert [space.read(at, 4) for at in (low, high, higher)] == [b"low\0", b"high", bytes(4)]
    assert space.min_flt == 6
    with pytest.raises(SegmentationFault):
        space.read(0x210000000, 1)
    with pytest.raises(SegmentationFault):
        space.write(0x210000000, b"x")
    space.sys_munmap(high, 4 * PAGE)
    assert space.read(low, 3) == b"low"
    assert space.sys_mremap(higher, 4 * PAGE, 4 * PAGE, 3, 0x410000000) == 0x410000000
    assert (space.read(0x410000064, 6), space.read(low, 3)) == (b"higher", b"low")


def test_frames_beyond_four_gibibytes_are_as_good_as_others() -> None:
    space = AddressSpace(Machine("64 GiB"))
    blocks = [space.frames.alloc(10) for _ in range(1025)]  # 4 GiB
    at = space.sys_mmap(0, 1 << 30, 3, ANON, None, 0)
    assert space.touch(at, 4 << 20, WRITE) == space.rss_pages == 1024
    space.write(at + (3 << 20), b"far")
    assert space.read(at + (3 << 20), 3) == b"far"
    assert space.touch(at + (64 << 20), 1 << 20, WRITE) == 256
    assert max(blocks) > 1 << 20
