# SPDX-License-Identifier: LGPL-2.1-or-later
"""fork of an address space: pages shared until written, bytes on the right side, nothing leaked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.frames import validate_buddy
from memtwin.kernel.machine import Machine

PAGE, READ, WRITE, ANON = 4096, 1, 2, 0x22
DONTFORK, WIPEONFORK = 10, 18


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine("1 GiB")
    free = machine.frames.free
    yield machine
    assert machine.frames.free == free, "frames leaked"
    assert not machine.frames.owners
    validate_buddy(machine.frames)


@pytest.fixture
def parent(machine: Machine) -> Iterator[AddressSpace]:
    space = AddressSpace(machine, 40)
    yield space
    space.release_all()


def test_each_side_sees_its_own_writes_only(parent: AddressSpace) -> None:
    at = parent.sys_mmap(0, 4 * PAGE, 3, ANON, None, 0)
    parent.write(at, b"before")
    child = parent.fork(40)
    assert (child.read(at, 6), child.min_flt) == (b"before", 0)
    faults = parent.min_flt
    parent.write(at, b"parent")
    assert parent.min_flt == faults + 1
    child.write(at, b"child!")
    assert child.min_flt == 1
    assert (parent.read(at, 6), child.read(at, 6)) == (b"parent", b"child!")
    child.release_all()
    assert parent.read(at, 6) == b"parent"


def test_the_last_owner_keeps_its_frame(parent: AddressSpace) -> None:
    at = parent.sys_mmap(0, 64 * PAGE, 3, ANON, None, 0)
    for page in range(64):
        parent.write(at + page * PAGE, b"%d" % page)
    child = parent.fork(40)
    grandchild = child.fork(40)
    parent.sys_munmap(at, 64 * PAGE)
    child.release_all()
    frames = parent.frames.free
    assert grandchild.touch(at, 64 * PAGE, WRITE) == 64
    assert parent.frames.free == frames
    assert [grandchild.read(at + page * PAGE, 2).rstrip(b"\0") for page in (0, 9, 63)] == [b"0", b"9", b"63"]
    grandchild.release_all()


def test_what_a_child_does_not_get(parent: AddressSpace) -> None:
    kept, wiped, left = (parent.sys_mmap(0x10000000 + n * 0x100000, PAGE, 3, ANON, None, 0) for n in range(3))
    for at in (kept, wiped, left):
        parent.write(at, b"mine")
    parent.sys_madvise(wiped, PAGE, WIPEONFORK)
    parent.sys_madvise(left, PAGE, DONTFORK)
    child = parent.fork(40)
    assert [vma.start for vma in child.vmas()] == [kept, wiped]
    assert (child.read(kept, 4), child.read(wiped, 4)) == (b"mine", bytes(4))
    assert (child.total_vm, child.rss_pages, parent.read(wiped, 4)) == (2, 1, b"mine")
    child.release_all()
