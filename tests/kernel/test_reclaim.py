# SPDX-License-Identifier: LGPL-2.1-or-later
"""Swap and reclaim: what leaves RAM comes back as it was, and every count adds up."""

from __future__ import annotations

import gc
import random

import pytest

from memtwin.errors import UserError
from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.check import validate_machine
from memtwin.kernel.machine import Machine
from memtwin.kernel.policies import POLICIES
from memtwin.kernel.reclaim import watermarks

PAGE, READ, WRITE, ANON = 4096, 1, 2, 0x22
COLD, PAGEOUT, DONTNEED = 20, 21, 4


def validate(machine: Machine) -> None:
    gc.collect()
    validate_machine(machine, [space for space in machine.spaces.values() if space.pages.root])


def space_on(machine: Machine) -> AddressSpace:
    return AddressSpace(machine, window_bits=32)


@pytest.mark.parametrize("policy", POLICIES)
def test_more_memory_than_ram_keeps_its_bytes(policy: str) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    draw = random.Random(seed)
    machine = Machine("4 MiB", "8 MiB", policy=policy, seed=seed)
    space = space_on(machine)
    at = space.sys_mmap(0, 1500 * PAGE, 3, ANON, None, 0)
    written: dict[int, bytes] = {}
    for _ in range(3000):
        page = draw.randrange(1500)
        choice = draw.random()
        if choice < 0.4:
            written[page] = draw.randbytes(16)
            space.write(at + page * PAGE + 100, written[page])
        elif choice < 0.8:
            assert space.read(at + page * PAGE + 100, 16) == written.get(page, bytes(16))
        elif choice < 0.95:
            assert space.touch(at + page * PAGE, 5 * PAGE, WRITE if draw.random() < 0.5 else READ) <= 5
        else:
            count = min(draw.randrange(1, 8), 1500 - page)
            assert space.sys_madvise(at + page * PAGE, count * PAGE, DONTNEED) == 0
            for gone in range(page, page + count):
                written.pop(gone, None)
        assert machine.frames.free > machine.frames.minimum
    assert space.swap_pages == machine.swap_area.used > 0 and space.maj_flt == machine.swap_area.pages_in > 0
    for page, content in written.items():
        assert space.read(at + page * PAGE + 100, 16) == content
    validate(machine)
    assert space.sys_munmap(at, 1500 * PAGE) == 0
    assert (space.anon_pages, space.swap_pages, machine.swap_area.used) == (0, 0, 0)
    validate(machine)


def test_random_processes_that_fork_and_swap_keep_their_bytes() -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    draw = random.Random(seed)
    machine = Machine("4 MiB", "16 MiB", policy=draw.choice(("two-list", "clock", "fifo", "random")), seed=seed)
    root = space_on(machine)
    at = root.sys_mmap(0, 400 * PAGE, 3, ANON, None, 0)
    living: list[tuple[AddressSpace, dict[int, bytes]]] = [(root, {})]
    for _ in range(2500):
        space, content = draw.choice(living)
        page = draw.randrange(400)
        choice = draw.random()
        if choice < 0.45:
            content[page] = draw.randbytes(8)
            space.write(at + page * PAGE + 8, content[page])
        elif choice < 0.85:
            assert space.read(at + page * PAGE + 8, 8) == content.get(page, bytes(8))
        elif choice < 0.95:
            count = min(draw.randrange(1, 60), 400 - page)
            assert space.sys_madvise(at + page * PAGE, count * PAGE, draw.choice((COLD, PAGEOUT))) == 0
        elif choice < 0.975 and len(living) < 6:
            living.append((space.fork(window_bits=32), dict(content)))
        elif len(living) > 1:
            living.remove((space, content))
            space.release_all()
    for space, content in living:
        for page, written in content.items():
            assert space.read(at + page * PAGE + 8, 8) == written
    validate(machine)
    for space, _ in living:
        space.release_all()
    assert machine.swap_area.used == 0
    validate(machine)


def test_pages_out_at_once_and_back_by_as_many_major_faults() -> None:
    machine = Machine("16 MiB", "16 MiB")
    space = space_on(machine)
    at = space.sys_mmap(0, 256 * PAGE, 3, ANON, None, 0)
    space.touch(at, 256 * PAGE, WRITE)
    assert space.sys_madvise(at, 256 * PAGE, PAGEOUT) == 0
    assert (space.swap_pages, space.anon_pages, machine.swap_area.used) == (256, 0, 256)
    faults = (space.min_flt, space.maj_flt)
    space.touch(at, 256 * PAGE, READ)
    assert (space.min_flt, space.maj_flt) == (faults[0], faults[1] + 256)
    assert (space.swap_pages, machine.swap_area.used) == (0, 0)
    assert space.touch(at, 256 * PAGE, WRITE) == 0
    validate(machine)


def test_a_forked_page_is_read_once_and_found_in_the_swap_cache_by_the_second() -> None:
    machine = Machine("16 MiB", "16 MiB")
    parent = space_on(machine)
    at = parent.sys_mmap(0, 8 * PAGE, 3, ANON, None, 0)
    for page in range(8):
        parent.write(at + page * PAGE, b"page %d" % page)
    parent.sys_madvise(at, 8 * PAGE, PAGEOUT)
    child = parent.fork(window_bits=32)
    assert (parent.swap_pages, child.swap_pages, machine.swap_area.used) == (8, 8, 8)
    parent_minor = parent.min_flt
    assert [child.read(at + page * PAGE, 6) for page in range(8)] == [b"page %d" % page for page in range(8)]
    assert [parent.read(at + page * PAGE, 6) for page in range(8)] == [b"page %d" % page for page in range(8)]
    assert (child.maj_flt, parent.min_flt - parent_minor, parent.maj_flt) == (8, 8, 0)
    child.write(at, b"mine")
    assert parent.read(at, 6) == b"page 0"
    child.release_all()
    validate(machine)


def test_shared_and_locked_pages_do_not_go() -> None:
    machine = Machine("16 MiB", "16 MiB")
    parent = space_on(machine)
    at = parent.sys_mmap(0, 8 * PAGE, 3, ANON, None, 0)
    parent.touch(at, 8 * PAGE, WRITE)
    child = parent.fork(window_bits=32)
    assert child.sys_madvise(at, 8 * PAGE, PAGEOUT) == 0 and child.swap_pages == 0
    child.release_all()
    assert parent.sys_madvise(at, 8 * PAGE, PAGEOUT) == 0 and parent.swap_pages == 8


def test_without_swap_pageout_changes_nothing() -> None:
    machine = Machine("16 MiB")
    space = space_on(machine)
    at = space.sys_mmap(0, 8 * PAGE, 3, ANON, None, 0)
    space.touch(at, 8 * PAGE, WRITE)
    assert space.sys_madvise(at, 8 * PAGE, PAGEOUT) == 0
    assert (space.anon_pages, space.swap_pages) == (8, 0)
    validate(machine)


def test_huge_pages_go_when_memory_is_short_and_keep_their_bytes() -> None:
    machine = Machine("16 MiB", "32 MiB")
    space = space_on(machine)
    at = space.sys_mmap(0x40000000, 2 << 20, 3, ANON | 0x10, None, 0)
    space.sys_madvise(at, 2 << 20, 14)
    space.write(at, b"huge" * (512 << 10))
    assert space.pages.huge == 1
    more = space.sys_mmap(0, 20 << 20, 3, ANON, None, 0)
    space.touch(more, 20 << 20, WRITE)
    assert (space.pages.huge, space.resident_pages(at, at + (2 << 20))) == (0, 0)
    validate(machine)
    assert space.read(at, 2 << 20) == b"huge" * (512 << 10)
    validate(machine)


def test_where_memory_would_be_short_small_pages_have_to_do() -> None:
    machine = Machine("4 MiB", "8 MiB")
    space = space_on(machine)
    at = space.sys_mmap(0x40000000, 2 << 20, 3, ANON | 0x10, None, 0)
    space.sys_madvise(at, 2 << 20, 14)
    other = space.sys_mmap(0, 2 << 20, 3, ANON, None, 0)
    space.touch(other, 2 << 20, WRITE)
    space.write(at, b"x")
    assert (space.pages.huge, space.resident_pages(at, at + (2 << 20))) == (0, 1)
    validate(machine)


def test_a_group_is_charged_for_files_shared_memory_and_tables() -> None:
    machine = Machine("64 MiB")
    group = machine.new_group("small", "32 MiB")
    space, other = space_on(machine), space_on(machine)
    space.join(group)
    cold = machine.disk_file(b"x" * 8 * PAGE, "/cold", cached=False)
    warm = machine.disk_file(b"x" * 8 * PAGE, "/warm")
    other_at = other.sys_mmap(0, 8 * PAGE, 1, 1, warm, 0)
    other.touch(other_at, 8 * PAGE, 1)
    for file, brought in ((cold, 8), (warm, 0), (machine.memfd(8 * PAGE, "/memfd:x"), 8), (None, 8)):
        before = group.usage - group.tables
        at = space.sys_mmap(0, 8 * PAGE, 3, 1 if file else 0x21, file, 0)
        space.touch(at, 8 * PAGE, WRITE)
        assert group.usage - group.tables - before == brought, file
    assert group.tables == space.pages.tables
    child = space.fork(window_bits=32)
    assert child.group is group and group.tables == space.pages.tables + child.pages.tables
    child.release_all()
    space.release_all()
    assert group.tables == 0
    validate(machine)


def test_pages_of_a_group_stay_below_its_limit() -> None:
    machine = Machine("16 MiB", "16 MiB")
    group = machine.new_group("small", "1 MiB")
    space, other = space_on(machine), space_on(machine)
    space.join(group)
    at = space.sys_mmap(0, 1024 * PAGE, 3, ANON, None, 0)
    elsewhere = other.sys_mmap(0, 1024 * PAGE, 3, ANON, None, 0)
    other.touch(elsewhere, 1024 * PAGE, WRITE)
    space.touch(at, 1024 * PAGE, WRITE)
    assert group.peak <= 256 and group.failures and space.anon_pages == group.usage - group.tables
    assert space.anon_pages + space.swap_pages == 1024
    assert (other.anon_pages, other.swap_pages) == (1024, 0)
    validate(machine)


def test_the_watermarks_are_the_kernel_s() -> None:
    """min_free_kbytes by RAM as Documentation/admin-guide and init_per_zone_wmark_min's own table have it."""
    for megabytes, kilobytes in (
        (16, 512),
        (32, 724),
        (64, 1024),
        (128, 1448),
        (256, 2048),
        (1024, 4096),
        (16384, 16384),
    ):
        minimum, low, high = watermarks(megabytes << 8, PAGE)
        assert minimum == kilobytes // 4
        assert low - minimum == high - low == max(minimum // 4, (megabytes << 8) * 10 // 10000)


def test_machines_that_cannot_be() -> None:
    for swap in (-1, 4096, 2**50):
        with pytest.raises(UserError):
            Machine("4 MiB", swap)
    with pytest.raises(UserError, match="choose from"):
        Machine("4 MiB", policy="mru")
    with pytest.raises(UserError):
        Machine("4 MiB", overcommit=3)
    with pytest.raises(UserError):
        Machine("4 MiB").new_group("none", 0)
