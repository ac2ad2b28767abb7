# SPDX-License-Identifier: LGPL-2.1-or-later
"""validate_machine holds after random operations, and finds what is broken by hand."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Callable

import pytest

from memtwin.errors import MemoryFault, ValidationError
from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.check import validate_machine
from memtwin.kernel.flags import MADV_DONTNEED, MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PTE_DIRTY, PTE_WRITABLE
from memtwin.kernel.machine import Machine

PAGE, READ, WRITE = 4096, 1, 2
ANONYMOUS = MAP_PRIVATE | MAP_ANONYMOUS


def _somewhere(dice: random.Random) -> int:
    return 0x10000000 + dice.randrange(64) * PAGE


def _step(dice: random.Random, machine: Machine, spaces: list[AddressSpace]) -> None:
    """One random operation by one of the spaces."""
    space = dice.choice(spaces)
    start, length = _somewhere(dice), dice.randint(1, 16) * PAGE
    match dice.randrange(10):
        case 0 | 1:
            space.sys_mmap(start, length, dice.randrange(8), ANONYMOUS | dice.choice((0, MAP_FIXED)), None, 0)
        case 2:
            space.sys_munmap(start, length)
        case 3:
            space.sys_mprotect(start, length, dice.choice((0, 1, 3, 3)))
        case 4:
            space.sys_mremap(start, length, dice.randint(1, 20) * PAGE, dice.choice((0, 1)), 0)
        case 5:
            space.sys_madvise(start, length, MADV_DONTNEED)
        case 6:
            space.sys_brk(space.brk_start + dice.randrange(40) * PAGE)
        case 7:
            if len(spaces) < 5:
                spaces.append(space.fork(window_bits=32))
        case 8:
            if len(spaces) > 1:
                spaces.remove(space)
                space.release_all()
        case _:
            try:
                if dice.randrange(2):
                    space.write(start + dice.randrange(PAGE), dice.randbytes(dice.randint(1, 2 * PAGE)))
                else:
                    space.read(start, dice.randint(1, 3 * PAGE))
            except MemoryFault:
                pass


def test_random_operations_leave_everything_fitting() -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    machine = Machine(ram=8 << 20)
    spaces = [AddressSpace(machine, window_bits=32)]
    for step in range(1000):
        _step(dice, machine, spaces)
        if step % 25 == 0:
            validate_machine(machine, spaces)
    free = machine.frames.free
    for space in spaces:
        space.release_all()
    assert machine.frames.free > free
    assert machine.frames.free == machine.frames.total - 2  # frame 0 and the zero page


def _scene() -> tuple[Machine, AddressSpace, AddressSpace, int]:
    machine = Machine(ram=8 << 20)
    parent = AddressSpace(machine, window_bits=32)
    base = parent.sys_mmap(0, 8 * PAGE, 3, ANONYMOUS, None, 0)
    parent.write(base, b"x" * 3 * PAGE)
    parent.touch(base + 4 * PAGE, PAGE, READ)
    child = parent.fork(window_bits=32)
    child.write(base, b"y")
    return machine, parent, child, base


def _frame(space: AddressSpace, address: int) -> int:
    return next(entry >> 12 for at, entry, _ in space.pages.entries() if at == address)


def _poke(
    at: int,
    kind: type[ctypes.c_uint64 | ctypes.c_uint32 | ctypes.c_uint16 | ctypes.c_uint8],
    change: Callable[[int], int],
) -> None:
    place = kind.from_address(at)
    place.value = change(place.value)


def _entry_at(space: AddressSpace, address: int) -> int:
    """Host address of a page's entry: of the last table, found by its contents."""
    entry = next(entry for at, entry, _ in space.pages.entries() if at == address)
    for pfn in space.pages.table_frames():
        at = space.frames.storage + (pfn << 12) + 8 * (address >> 12 & 511)
        if ctypes.c_uint64.from_address(at).value == entry:
            return int(at)
    raise AssertionError("no table has it")


BREAKAGES: dict[str, tuple[Callable[[Machine, AddressSpace, AddressSpace, int], None], str]] = {
    "a frame is taken and forgotten": (lambda m, p, c, b: m.frames.alloc(0) and None, "leaked"),
    "a map count is one too high": (
        lambda m, p, c, b: _poke(m.frames.mapped_at + 4 * _frame(p, b), ctypes.c_uint32, lambda n: n + 1), "mapped 1 times, counted 2",
    ),
    "a shared page is writable": (
        lambda m, p, c, b: _poke(_entry_at(p, b + PAGE), ctypes.c_uint64, lambda n: n | PTE_WRITABLE | PTE_DIRTY), "copy on write is missing",
    ),
    "the zero page is writable": (
        lambda m, p, c, b: _poke(_entry_at(p, b + 4 * PAGE), ctypes.c_uint64, lambda n: n | PTE_WRITABLE), "zero page is writable",
    ),
    "an entry outlives its mapping": (
        lambda m, p, c, b: _poke(_entry_at(p, b + PAGE) - 8 * 100, ctypes.c_uint64, lambda n: 0x1067), "where no VMA is",
    ),
    "a page is lost": (lambda m, p, c, b: _poke(_entry_at(c, b), ctypes.c_uint64, lambda n: 0), "anon_pages is 3, counted 2"),
    "a used frame is in the free list": (lambda m, p, c, b: m.frames.give(_frame(p, b), 0), "is free and yet"),
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKAGES)
def test_what_is_broken_by_hand_is_found(name: str) -> None:
    machine, parent, child, base = _scene()
    validate_machine(machine, [parent, child])
    breakage, message = BREAKAGES[name]
    breakage(machine, parent, child, base)
    with pytest.raises(ValidationError, match=message):
        validate_machine(machine, [parent, child])
