# SPDX-License-Identifier: LGPL-2.1-or-later
"""Absurd arguments: every system call answers with a result or -errno, and the machine stays whole."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest

from memtwin.errors import MemoryFault, OutOfMemoryKilled
from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.check import validate_machine
from memtwin.kernel.machine import Machine

PAGE, WORD = 4096, (1 << 64) - 1
NUMBERS = (
    0, 1, 8, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE, 2 << 20, 1 << 32, 1 << 44, 1 << 46, (1 << 47) - PAGE, 1 << 47, 1 << 62,
    1 << 63, WORD - PAGE, WORD - 1, WORD,
)  # fmt: skip
ZONE = 0x10000000


@pytest.mark.parametrize("part", range(8))
def test_random_nonsense_leaves_the_machine_whole(part: int) -> None:
    """A small machine, as nonsense that asks for the most fills it until the OOM killer comes."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    r = random.Random(seed)
    machine = Machine("16 MiB", swap=r.choice((0, "8 MiB")))
    space = AddressSpace(machine, 32)
    opened = [machine.memfd(5 * PAGE, "/memfd:x"), machine.disk_file(b"x" * 9000, "/x"), machine.dev_zero]
    files = [None, machine.closed, *opened]

    def flags() -> int:
        return r.choice((small(), 0x22, 0x32, 2, 0x12))

    def number() -> int:
        return r.choice(NUMBERS) if r.random() < 0.3 else ZONE + PAGE * r.randrange(32)

    def length() -> int:
        return r.choice(NUMBERS) if r.random() < 0.3 else PAGE * r.randrange(1, 8)

    def small() -> int:
        return r.choice((-1, 0, 1, 2, 3, 4, 7, 8, 22, 23, 100, 1 << 31, -(1 << 31), 1 << 40, r.randrange(1 << 20)))

    calls = (
        lambda: space.sys_mmap(number(), length(), small(), flags(), r.choice(files), length()),
        lambda: space.sys_munmap(number(), length()),
        lambda: space.sys_mprotect(number(), length(), small()),
        lambda: space.sys_mremap(number(), length(), length(), small(), number()),
        lambda: space.sys_brk(r.choice((number(), space.brk_start + PAGE * r.randrange(64)))),
        lambda: space.sys_madvise(number(), length(), r.choice((small(), r.randrange(26), 102, 103))),
        lambda: space.sys_mlock(number(), length()),
        lambda: space.sys_mlock2(number(), length(), small()),
        lambda: space.sys_munlock(number(), length()),
        lambda: space.sys_mlockall(small()),
        lambda: space.sys_munlockall(),
        lambda: space.sys_msync(number(), length(), small()),
        lambda: space.mincore_into([], number(), PAGE * r.randrange(4)),
    )  # fmt: skip
    for _ in range(700):
        result = r.choice(calls)()
        assert -4096 < result <= WORD
        try:
            with suppress(MemoryFault):
                r.choice((lambda at: space.read(at, 3), lambda at: space.write(at, b"xyz")))(number())
            with suppress(MemoryFault):
                space.touch(number(), PAGE * r.randrange(4), r.choice((1, 2)))
                space.raise_stop()
        except OutOfMemoryKilled:  # nonsense may ask for more than the machine has
            break
    validate_machine(machine, [space])
    space.release_all()
    validate_machine(machine, [])


def test_pages_that_share_a_place_in_the_window_keep_their_bytes_when_they_move() -> None:
    """Addresses 4 GiB apart fold onto one place of a 32-bit window: an mremap makes the two meet there."""
    machine = Machine("16 MiB")
    space = AddressSpace(machine, 32)
    here, there = 1 << 32, 2 << 32
    space.sys_mmap(here, 4 * PAGE, 3, 0x32, None, 0)
    space.write(here + PAGE, b"whole")
    assert space.sys_mremap(here, 4 * PAGE, 4 * PAGE, 3, there) == there
    assert space.read(there + PAGE, 5) == b"whole"
    validate_machine(machine, [space])


def test_a_page_that_comes_where_another_folds_to_is_not_said_to_have_its_bytes() -> None:
    machine = Machine("16 MiB")
    space = AddressSpace(machine, 32)
    for address in (1 << 32, 0):
        space.sys_mmap(address, PAGE, 3, 0x32, None, 0)
    space.write(1 << 32, b"xyz")
    assert space.read(0, 3) == bytes(3)
    validate_machine(machine, [space])
    assert space.read(1 << 32, 3) == b"xyz"
