# SPDX-License-Identifier: LGPL-2.1-or-later
"""Transparent huge pages on the twin alone: one fault for 2 MiB, splits, and what a fork makes of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.frames import validate_buddy
from memtwin.kernel.machine import Machine

PAGE, MIB, READ, WRITE, ANON = 4096, 1 << 20, 1, 2, 0x22
DONTNEED, FREE, HUGEPAGE = 4, 8, 14


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine("1 GiB")
    free = machine.frames.free
    yield machine
    assert (machine.frames.free, machine.frames.folios) == (free, {})
    validate_buddy(machine.frames)


@pytest.fixture
def space(machine: Machine) -> Iterator[AddressSpace]:
    space = AddressSpace(machine, 40)
    yield space
    space.release_all()


def huge(space: AddressSpace, length: int = 2 * MIB) -> int:
    at = int(space.sys_mmap(0, length, 3, ANON, None, 0))
    assert at % (2 * MIB) == 0
    assert space.sys_madvise(at, length, HUGEPAGE) == 0
    return at


def test_one_fault_maps_two_mebibytes(space: AddressSpace) -> None:
    at = huge(space, 4 * MIB)
    assert space.touch(at, 2 * MIB, READ) == 1
    assert space.rss_pages == 0
    assert space.touch(at, 4 * MIB, WRITE) == 2
    assert (space.rss_pages, space.pages.huge) == (1024, 2)
    space.write(at + MIB, b"bytes")
    assert space.read(at + MIB, 5) == b"bytes"


def test_a_part_that_goes_splits_the_huge_page(space: AddressSpace) -> None:
    at = huge(space)
    space.touch(at, 2 * MIB, WRITE)
    space.sys_madvise(at + PAGE, PAGE, DONTNEED)
    assert (space.rss_pages, space.pages.huge) == (511, 0)
    assert space.touch(at, 2 * MIB, WRITE) == 1


def test_a_child_copies_one_small_page_of_it(space: AddressSpace) -> None:
    at = huge(space)
    space.touch(at, 2 * MIB, WRITE)
    child = space.fork(40)
    assert child.touch(at, 1, WRITE) == 1
    assert (child.pages.huge, space.pages.huge) == (0, 1)
    assert child.touch(at, 2 * MIB, WRITE) == 511
    child.release_all()
    assert space.touch(at, 2 * MIB, WRITE) == 1  # the last owner keeps the whole of it


def test_an_unaligned_mapping_has_small_pages_at_its_ends(space: AddressSpace) -> None:
    at = space.sys_mmap(0x10000000 + PAGE, 4 * MIB, 3, ANON, None, 0)
    space.sys_madvise(at, 4 * MIB, HUGEPAGE)
    assert space.touch(at, 4 * MIB, WRITE) == 511 + 1 + 1
    assert space.pages.huge == 1
    assert space.sys_mprotect(at + 3 * MIB, PAGE, 1) == 0
    assert space.pages.huge == 0
    assert space.sys_munmap(at, 4 * MIB) == 0
    assert space.pages.tables == 0


def test_freed_lazily_it_stays_mapped(space: AddressSpace) -> None:
    at = huge(space)
    space.touch(at, 2 * MIB, WRITE)
    assert space.sys_madvise(at, 2 * MIB, FREE) == 0
    assert space.touch(at, 2 * MIB, WRITE) == 0


def test_no_frame_is_lost_when_the_last_page_of_a_shared_huge_page_is_copied(space: AddressSpace) -> None:
    at = huge(space)
    space.touch(at, 2 * MIB, WRITE)
    child = space.fork(40)
    child.touch(at, 2 * MIB, WRITE)
    space.touch(at, 1, WRITE)
    space.sys_madvise(at + PAGE, 2 * MIB - PAGE, DONTNEED)
    assert space.touch(at, 2 * MIB, WRITE) == 511
    child.release_all()
