# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Performer: the loop that performs a column's allocator calls in the twin and logs what each gave.

What an operation means is told in host/player.c's perform; this is the same for the twin. Whatever needs more than the
allocator (threads, forks, limits, stops, the program's own mappings) ends the loop, for twin.py to handle.
"""

from __future__ import annotations

from typing import Any

import cython
import numpy as np
import numpy.typing as npt

from memtwin.kernel.addrspace import AddressSpace
from memtwin.libc.malloc import Malloc

if not cython.compiled:
    from memtwin.hostmem import load8, load16, load32, load64, store32, store64
    from memtwin.verify.libc.codes import (
        ALIGNED_ALLOC,
        CALLOC,
        FREE,
        MALLOC,
        MALLOC_TRIM,
        MALLOPT,
        MEMALIGN,
        POSIX_MEMALIGN,
        PVALLOC,
        REALLOC,
        REALLOCARRAY,
        USABLE_SIZE,
        VALLOC,
        WRITE,
    )

    OPERATION_BYTES, ENTRY_BYTES = 24, 16


class Performer:
    """Performs operations of `column` (dtype OPERATION) on `malloc`, logging into `entries` (dtype ENTRY).

    slots: one pointer each, which a forked child has of its own; word: bytes of a pointer.
    """

    def __init__(
        self, malloc: Malloc, space: AddressSpace, column: npt.NDArray[Any], entries: npt.NDArray[Any], slots: int,
        word: int = 8,
    ) -> None:  # fmt: skip
        self.malloc = malloc
        self.space = space
        self.column, self.entries = column, entries
        self.rows, self.log = column.ctypes.data, entries.ctypes.data
        self.word_mask = (1 << 8 * word) - 1
        self.set_slots(np.zeros(slots, np.uint64))

    def set_slots(self, slots: npt.NDArray[Any]) -> None:
        """Other pointers from now on: those of the process that goes on."""
        self.slots = slots
        self.pointers = slots if cython.compiled else _Integers(slots)

    def perform(self, start: int, stop: int) -> int:
        """Perform the operations [start, stop); the number of the first that is left, or `stop`.

        It stops before an operation that is no allocator call, and at one that kills the process.
        """
        at = start
        while at < stop:
            row = self.rows + OPERATION_BYTES * at
            op = load8(row)
            self.malloc.switch_thread(load16(row + 2))
            self.malloc.errno = 0
            if not self.call(row, op, at) or self.malloc.dead or self.space.stop_signal:
                return at
            at += 1
        return stop

    def call(self, row: int, op: int, at: int) -> bool:
        """One operation, logged; False when it is none of the allocator's."""
        slot = load32(row + 4)
        size = load64(row + 8) & self.word_mask
        malloc = self.malloc
        result = 0
        if op == MALLOC:
            result = self.keep(slot, malloc.malloc(size))
        elif op == FREE:
            pointer = self.pointers[slot]
            if not load8(row + 1):
                self.pointers[slot] = 0
            malloc.free(pointer)
        elif op == CALLOC:
            result = self.keep(slot, malloc.calloc(size, load64(row + 16) & self.word_mask))
        elif op in (REALLOC, REALLOCARRAY):
            result = self.resize(row, op, slot)
        elif MEMALIGN <= op <= PVALLOC:
            result = self.keep(slot, self.aligned(row, op))
        elif op == WRITE:
            self.write(row, slot)
        elif op == USABLE_SIZE:
            result = malloc.malloc_usable_size(self.pointers[slot])
        elif op == MALLOC_TRIM:
            result = malloc.malloc_trim(size)
        elif op == MALLOPT:
            argument = load64(row + 16)
            result = malloc.mallopt(signed(argument >> 32), signed(argument & 0xFFFFFFFF))
        else:
            return False
        store64(self.log + ENTRY_BYTES * at, result)
        store32(self.log + ENTRY_BYTES * at + 8, malloc.errno)
        return True

    def keep(self, slot: int, pointer: int) -> int:
        """The slot holds the pointer, which is returned."""
        self.pointers[slot] = pointer
        return pointer

    def resize(self, row: int, op: int, slot: int) -> int:
        """realloc or reallocarray; where it failed the slot keeps the old block."""
        size = load64(row + 8) & self.word_mask
        each = load64(row + 16) & self.word_mask
        if op == REALLOC:
            made = self.malloc.realloc(self.pointers[slot], size)
        else:
            made = self.malloc.reallocarray(self.pointers[slot], size, each)
        if made or size == 0 or (op == REALLOCARRAY and each == 0):
            self.pointers[slot] = made
        return made

    def aligned(self, row: int, op: int) -> int:
        """The memalign family."""
        size = load64(row + 8) & self.word_mask
        alignment = load64(row + 16) & self.word_mask
        malloc = self.malloc
        if op == MEMALIGN:
            return malloc.memalign(alignment, size)
        if op == POSIX_MEMALIGN:
            return malloc.posix_memalign(alignment, size)
        if op == ALIGNED_ALLOC:
            return malloc.aligned_alloc(alignment, size)
        return malloc.valloc(size) if op == VALLOC else malloc.pvalloc(size)

    def write(self, row: int, slot: int) -> None:
        """The program writes into its block, as far as that goes."""
        pointer = self.pointers[slot]
        room = self.malloc.malloc_usable_size(pointer)
        offset = load64(row + 16)
        if offset < room:
            length = min(load64(row + 8), room - offset)
            self.space.clear(pointer + offset, load8(row + 1), length)


def signed(value: int) -> int:
    """A 32-bit word as C's int."""
    return value - (1 << 32) if value >> 31 else value


class _Integers:
    """An array of unsigned words whose elements are Python's integers."""

    def __init__(self, words: npt.NDArray[Any]) -> None:
        self._words = words

    def __getitem__(self, place: int) -> int:
        return int(self._words[place])

    def __setitem__(self, place: int, value: int) -> None:
        self._words[place] = value
