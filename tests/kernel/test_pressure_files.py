# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pages of files under pressure: clean ones go and are read again, dirty ones are written first, shmem goes to swap."""

from __future__ import annotations

import gc
import random

from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.check import validate_machine
from memtwin.kernel.machine import Machine

PAGE, READ, WRITE = 4096, 1, 2
SHARED, PRIVATE, ANON = 1, 2, 0x22
FREE, PAGEOUT = 8, 21


def validate(machine: Machine) -> None:
    gc.collect()
    validate_machine(machine, [space for space in machine.spaces.values() if space.pages.root])


def test_a_clean_page_goes_and_is_read_again_by_a_major_fault() -> None:
    machine = Machine("16 MiB")
    space = AddressSpace(machine, window_bits=32)
    content = b"".join(b"%4096d" % page for page in range(64))
    at = space.sys_mmap(0, 64 * PAGE, 1, PRIVATE, machine.disk_file(content, "/data"), 0)
    assert space.read(at, 64 * PAGE) == content and space.maj_flt == 0
    assert space.file_pages == 64
    assert space.sys_madvise(at, 64 * PAGE, PAGEOUT) == 0
    assert (space.file_pages, machine.swap_area.used) == (0, 0)
    assert space.read(at, 64 * PAGE) == content and space.maj_flt > 0
    validate(machine)


def test_a_dirty_page_of_a_disk_file_is_written_back() -> None:
    machine = Machine("16 MiB")
    space = AddressSpace(machine, window_bits=32)
    at = space.sys_mmap(0, 8 * PAGE, 3, SHARED, machine.disk_file(bytes(8 * PAGE), "/data"), 0)
    space.write(at + 3 * PAGE + 5, b"written")
    assert space.sys_madvise(at, 8 * PAGE, PAGEOUT) == 0
    assert space.file_pages == 0
    assert space.read(at + 3 * PAGE, 16) == bytes(5) + b"written" + bytes(4)
    validate(machine)


def test_shared_memory_goes_to_swap_and_everybody_finds_it_again() -> None:
    machine = Machine("16 MiB", "16 MiB")
    one, other = AddressSpace(machine, window_bits=32), AddressSpace(machine, window_bits=32)
    file = machine.memfd(8 * PAGE, "/memfd:shared")
    at, there = (space.sys_mmap(0, 8 * PAGE, 3, SHARED, file, 0) for space in (one, other))
    for page in range(8):
        one.write(at + page * PAGE, b"page %d" % page)
    assert one.sys_madvise(at, 8 * PAGE, PAGEOUT) == 0
    assert (one.shmem_pages, one.swap_pages, machine.swap_area.used) == (0, 0, 8)
    assert [other.read(there + page * PAGE, 6) for page in range(8)] == [b"page %d" % page for page in range(8)]
    assert (other.maj_flt, machine.swap_area.used) == (8, 0)
    other.write(there, b"other!")
    assert one.read(at, 6) == b"other!"
    validate(machine)


def test_pages_freed_lazily_go_without_swap_unless_written_again() -> None:
    machine = Machine("16 MiB", "16 MiB")
    space = AddressSpace(machine, window_bits=32)
    at = space.sys_mmap(0, 8 * PAGE, 3, ANON, None, 0)
    for page in range(8):
        space.write(at + page * PAGE, b"page %d" % page)
    assert space.sys_madvise(at, 8 * PAGE, FREE) == 0
    space.write(at + 2 * PAGE, b"again!")
    assert space.sys_madvise(at, 8 * PAGE, PAGEOUT) == 0
    assert (space.anon_pages, space.swap_pages, machine.swap_area.used) == (0, 1, 1)
    assert space.read(at, 6) == bytes(6)
    assert space.read(at + 2 * PAGE, 6) == b"again!"
    validate(machine)


def test_locked_pages_stay() -> None:
    machine = Machine("4 MiB", "8 MiB")
    space = AddressSpace(machine, window_bits=32)
    at = space.sys_mmap(0, 100 * PAGE, 3, ANON, None, 0)
    assert space.sys_mlock(at, 100 * PAGE) == 0
    more = space.sys_mmap(0, 1400 * PAGE, 3, ANON, None, 0)
    space.touch(more, 1400 * PAGE, WRITE)
    assert space.swap_pages > 0 and space.resident_pages(at, at + 100 * PAGE) == 100
    validate(machine)


def test_a_mixture_under_pressure_keeps_its_bytes() -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    draw = random.Random(seed)
    machine = Machine("4 MiB", "16 MiB", policy=draw.choice(("two-list", "clock", "random")), seed=seed)
    space = AddressSpace(machine, window_bits=32)
    content = draw.randbytes(300 * PAGE)
    areas = [
        [space.sys_mmap(0, 500 * PAGE, 3, ANON, None, 0), 500, {}],
        [space.sys_mmap(0, 300 * PAGE, 3, SHARED, machine.memfd(300 * PAGE, "/memfd:m"), 0), 300, {}],
        [space.sys_mmap(0, 300 * PAGE, 3, SHARED, machine.disk_file(content, "/disk"), 0), 300, {}],
        [space.sys_mmap(0, 300 * PAGE, 3, PRIVATE, machine.disk_file(content, "/private"), 0), 300, {}],
    ]
    for number, (_, pages, known) in enumerate(areas):
        for page in range(pages):
            known[page] = bytes(8) if number < 2 else content[page * PAGE : page * PAGE + 8]
    for _ in range(4000):
        at, pages, known = draw.choice(areas)
        page = draw.randrange(pages)
        if draw.random() < 0.4:
            known[page] = draw.randbytes(8)
            space.write(at + page * PAGE, known[page])
        else:
            assert space.read(at + page * PAGE, 8) == known[page]
    assert machine.swap_area.used and space.maj_flt
    validate(machine)
    space.release_all()
    validate(machine)
