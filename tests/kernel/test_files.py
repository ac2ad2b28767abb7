# SPDX-License-Identifier: LGPL-2.1-or-later
"""Mappings of files on the twin alone: bytes, faults, truncation, what is left when nobody maps them."""

from __future__ import annotations

import pytest

from memtwin.errors import BusError
from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.files import File
from memtwin.kernel.machine import Machine

PAGE, READ, WRITE = 4096, 1, 2
SHARED, PRIVATE, ANONYMOUS = 1, 2, 0x20


@pytest.fixture
def machine() -> Machine:
    return Machine("1 GiB")


@pytest.fixture
def space(machine: Machine) -> AddressSpace:
    return AddressSpace(machine, 40)


def test_processes_see_each_other_through_shared_memory(machine: Machine, space: AddressSpace) -> None:
    free = machine.frames.free
    at = space.sys_mmap(0, 4 * PAGE, 3, SHARED | ANONYMOUS, None, 0)
    child = space.fork(40)
    space.write(at + 5, b"from the parent")
    assert child.read(at + 5, 15) == b"from the parent"
    child.write(at + PAGE, b"and back")
    assert space.read(at + PAGE, 8) == b"and back"
    assert (space.shmem_pages, child.shmem_pages) == (2, 2)
    child.release_all()
    space.sys_munmap(at, 4 * PAGE)
    assert machine.frames.free == free


def test_a_private_copy_is_nobody_elses(machine: Machine, space: AddressSpace) -> None:
    file = machine.disk_file(b"x" * PAGE + b"y" * PAGE, "/etc/words")
    at = space.sys_mmap(0, 2 * PAGE, 3, PRIVATE, file, 0)
    other = space.sys_mmap(0, 2 * PAGE, 3, SHARED, file, 0)
    space.write(at, b"mine")
    assert (space.read(at, 5), space.read(other, 5), space.read(at + PAGE, 1)) == (b"minex", b"xxxxx", b"y")
    space.write(other + 1, b"OURS")
    assert space.read(at, 5) == b"minex"
    assert (space.anon_pages, space.file_pages) == (1, 3)


def test_an_access_past_the_end_of_the_file_is_a_bus_error(machine: Machine, space: AddressSpace) -> None:
    file = machine.memfd(PAGE + 1, "/memfd:short (deleted)")
    at = space.sys_mmap(0, 4 * PAGE, 3, SHARED, file, 0)
    space.write(at + 2 * PAGE - 1, b"x")
    with pytest.raises(BusError) as stop:
        space.read(at + 2 * PAGE, 1)
    assert stop.value.code == 2


def test_truncation_takes_pages_and_private_copies(machine: Machine, space: AddressSpace) -> None:
    file = machine.memfd(4 * PAGE, "/memfd:cut (deleted)")
    shared = space.sys_mmap(0, 4 * PAGE, 3, SHARED, file, 0)
    private = space.sys_mmap(0, 4 * PAGE, 3, PRIVATE, file, 0)
    for page in range(4):
        space.write(shared + page * PAGE, b"shared")
        space.write(private + page * PAGE, b"private")
    assert machine.truncate(file.inode, PAGE + 3) == 0
    assert space.read(shared + PAGE, 6) == b"sha\0\0\0"
    assert space.read(private + PAGE, 7) == b"private"
    with pytest.raises(BusError):
        space.read(private + 2 * PAGE, 1)
    machine.truncate(file.inode, 4 * PAGE)
    assert space.read(private + 2 * PAGE, 7) == space.read(shared + 2 * PAGE, 7) == bytes(7)
    assert machine.truncate(file.inode, -1) == -22


def test_a_cold_file_costs_major_faults(machine: Machine, space: AddressSpace) -> None:
    file = machine.disk_file(b"z" * (64 * PAGE), "/var/cold", cached=False)
    at = space.sys_mmap(0, 64 * PAGE, 1, PRIVATE, file, 0)
    assert space.read(at + 20 * PAGE, 1) == b"z"
    assert (space.maj_flt, space.min_flt) == (1, 0)
    space.read(at + 21 * PAGE, 1)
    assert (space.maj_flt, space.min_flt) == (1, 1)


def test_the_first_write_after_a_write_back_is_a_fault_on_disk_only(machine: Machine, space: AddressSpace) -> None:
    for file, faults in ((machine.disk_file(bytes(4 * PAGE), "/var/db"), 4), (machine.memfd(4 * PAGE, "/memfd:a"), 0)):
        at = space.sys_mmap(0, 4 * PAGE, 3, SHARED, file, 0)
        space.touch(at, 4 * PAGE, READ)
        assert space.touch(at, 4 * PAGE, WRITE) == faults
        assert space.sys_msync(at, 4 * PAGE, 4) == 0
        assert space.touch(at, 4 * PAGE, WRITE) == faults


def test_what_a_descriptor_does_not_allow(machine: Machine, space: AddressSpace) -> None:
    inode = machine.memfd(PAGE, "/memfd:b").inode
    read_only, write_only = File(inode, "r", writable=False), File(inode, "w", readable=False)
    assert space.sys_mmap(0, PAGE, 3, SHARED, read_only, 0) == -13
    assert space.sys_mmap(0, PAGE, 1, PRIVATE, write_only, 0) == -13
    assert space.sys_mmap(0, PAGE, 1, PRIVATE, machine.closed, 0) == -9
    at = space.sys_mmap(0, PAGE, 1, SHARED, read_only, 0)
    assert space.sys_mprotect(at, PAGE, 3) == -13
