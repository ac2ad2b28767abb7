# SPDX-License-Identifier: LGPL-2.1-or-later
"""A map from addresses to addresses, for replays in which the twin's addresses are not the recorded ones.

Open addressing with linear probing; an entry is 16 bytes (key, value), a key of 0 marks a free slot. Deleting moves
later entries of the same run back, so that there are no tombstones and a map that has been busy for a billion events
is as fast as a new one. At most three quarters full.
"""

from __future__ import annotations

from collections.abc import Iterator

import cython

from memtwin.errors import MemtwinError

if not cython.compiled:
    from memtwin.hostmem import load64, release, reserve, store64

    GOLDEN, WORD = 0x9E3779B97F4A7C15, 2**64 - 1

_FIRST_BITS = 12


class AddressMap:
    """Recorded address -> twin's address. Neither may be 0; MemtwinError when the host gives no memory."""

    def __init__(self) -> None:
        self.capacity = 1 << _FIRST_BITS
        self.shift = 64 - _FIRST_BITS
        self.count = 0
        self.table = reserve(self.capacity * 16)
        if not self.table:
            raise MemtwinError("the host gives no memory for the map of addresses")

    def __del__(self) -> None:
        if self.table:
            release(self.table, self.capacity * 16)
            self.table = 0

    def home(self, key: int) -> int:
        """The slot where a key belongs: blocks are 16 bytes apart, so the low four bits say nothing."""
        return (((key >> 4) * GOLDEN) & WORD) >> self.shift

    def slot(self, key: int) -> int:
        """Host address of the slot that holds the key, or of the free slot where it would go."""
        at = self.home(key)
        while True:
            host = self.table + at * 16
            found = load64(host)
            if found == key or found == 0:
                return host
            at = (at + 1) & (self.capacity - 1)

    def get(self, key: int) -> int:
        """The value, or 0."""
        host = self.slot(key)
        return load64(host + 8) if load64(host) else 0

    def put(self, key: int, value: int) -> bool:
        """Insert or replace; False when the host has no memory to grow."""
        if self.count * 4 >= self.capacity * 3 and not self.grow():
            return False
        host = self.slot(key)
        if load64(host) == 0:
            self.count += 1
            store64(host, key)
        store64(host + 8, value)
        return True

    def pop(self, key: int) -> int:
        """Remove; the value it had, or 0."""
        host = self.slot(key)
        if load64(host) == 0:
            return 0
        value = load64(host + 8)
        self.count -= 1
        self.close_gap((host - self.table) >> 4)
        return value

    def close_gap(self, gap: int) -> None:
        """Move back whatever could no longer be found across the free slot `gap`."""
        last = self.capacity - 1
        at = gap
        while True:
            at = (at + 1) & last
            host = self.table + at * 16
            key = load64(host)
            if key == 0:
                break
            # the entry may fill the gap when the gap lies on its way from home
            if ((at - self.home(key)) & last) >= ((at - gap) & last):
                store64(self.table + gap * 16, key)
                store64(self.table + gap * 16 + 8, load64(host + 8))
                gap = at
        store64(self.table + gap * 16, 0)

    def grow(self) -> bool:
        """Twice the capacity; False when the host has no memory, and nothing has changed."""
        old, length = self.table, self.capacity * 16
        table = reserve(length * 2)
        if not table:
            return False
        self.table = table
        self.capacity *= 2
        self.shift -= 1
        at = old
        while at < old + length:
            key = load64(at)
            if key:
                host = self.slot(key)
                store64(host, key)
                store64(host + 8, load64(at + 8))
            at += 16
        release(old, length)
        return True

    def copy(self) -> AddressMap:
        """An independent map with the same entries, for a forked child."""
        other: AddressMap = AddressMap()
        for key, value in self.items():
            other[key] = value
        return other

    def items(self) -> Iterator[tuple[int, int]]:
        """All entries, in no particular order; the map must not change meanwhile."""
        return iter([pair for pair in self._pairs() if pair[0]])

    def _pairs(self) -> list[tuple[int, int]]:
        return [(load64(self.table + at * 16), load64(self.table + at * 16 + 8)) for at in range(self.capacity)]

    def __len__(self) -> int:
        return int(self.count)

    def __getitem__(self, key: int) -> int:
        value = self.get(key)
        if not value:
            raise KeyError(hex(key))
        return int(value)

    def __setitem__(self, key: int, value: int) -> None:
        if not key or not value:
            raise ValueError("0 is no address")
        if not self.put(key, value):
            raise MemtwinError("the host gives no memory for the map of addresses")

    def __delitem__(self, key: int) -> None:
        if not self.pop(key):
            raise KeyError(hex(key))
