# SPDX-License-Identifier: LGPL-2.1-or-later
"""Typed looks at a process's memory: `p.u64[address]`, and arrays that are read and written where they lie.

Every look is an access of the program, through its `read` and `write`: it may fault, and counts.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar, overload

from memtwin.errors import UserError

Number = TypeVar("Number", int, float)

# The C names of the types, as letters of the struct module ("<": no padding, standard sizes); long and pointers have
# the data model's word.
TYPES = {
    "char": "b", "signed char": "b", "unsigned char": "B", "short": "h", "unsigned short": "H", "int": "i",
    "unsigned int": "I", "unsigned": "I", "long long": "q", "unsigned long long": "Q", "float": "f", "double": "d",
    "int8_t": "b", "uint8_t": "B", "int16_t": "h", "uint16_t": "H", "int32_t": "i", "uint32_t": "I", "int64_t": "q",
    "uint64_t": "Q",
}  # fmt: skip
_WORDS = {"long": "iq", "unsigned long": "IQ", "size_t": "IQ", "ssize_t": "iq", "pointer": "IQ", "l": "iq", "L": "IQ",
          "P": "IQ"}  # fmt: skip


class Readable(Protocol):
    """What has bytes at addresses: a process of the twin or of the host."""

    def read(self, address: int, length: int) -> bytes: ...

    def write(self, address: int, data: bytes) -> None: ...


def letter_of(name: str, word: int = 8) -> str:
    """The struct letter of a C type or of a struct letter; word: bytes of a long. UserError lists what there is."""
    if name in _WORDS:
        return _WORDS[name][word == 8]
    letter = TYPES.get(name, name)
    if letter not in "bBhHiIqQfd" or len(letter) != 1:
        raise UserError(f"{name!r} is no type: choose from {', '.join([*TYPES, *_WORDS])}")
    return letter


class Typed(Generic[Number]):
    """Values of one type anywhere in memory: `p.u32[address]` reads, `p.u32[address] = 7` writes."""

    def __init__(self, memory: Readable, letter: str) -> None:
        self._memory = memory
        self._form = struct.Struct("<" + letter)

    def __getitem__(self, address: int) -> Number:
        """The value at `address`, aligned or not. SegmentationFault, BusError."""
        value: Number = self._form.unpack(self._memory.read(address, self._form.size))[0]
        return value

    def __setitem__(self, address: int, value: Number) -> None:
        """Store `value` at `address`. UserError: the type does not hold it."""
        self._memory.write(address, packed(self._form, value))

    def __repr__(self) -> str:
        return f"<memory as {self._form.format[1:]!r}, {self._form.size} bytes each>"


class Array(Generic[Number]):
    """`length` values of one type from `address` on, read and written where they lie.

    >>> from memtwin import Machine
    >>> p = Machine().spawn()
    >>> row = p.array("int", p.calloc(5, 4), 5)
    >>> row[1] = -7
    >>> row
    array('int', 0x555555559010, [0, -7, 0, 0, 0])
    """

    def __init__(self, memory: Readable, type: str, letter: str, address: int, length: int) -> None:
        self._memory = memory
        self._form = struct.Struct("<" + letter)
        self.type = type
        self.address = address
        self._length = length

    def __len__(self) -> int:
        return self._length

    @property
    def size(self) -> int:
        """Bytes of the whole array."""
        return self._length * self._form.size

    def address_of(self, index: int) -> int:
        """&array[index]; an index outside is allowed, as in C."""
        return self.address + index * self._form.size

    @overload
    def __getitem__(self, index: int) -> Number: ...

    @overload
    def __getitem__(self, index: slice) -> list[Number]: ...

    def __getitem__(self, index: int | slice) -> Number | list[Number]:
        """A value, or a list of them. IndexError outside the array; SegmentationFault, BusError."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(self._length))]
        data = self._memory.read(self.address_of(self._inside(index)), self._form.size)
        value: Number = self._form.unpack(data)[0]
        return value

    def __setitem__(self, index: int, value: Number) -> None:
        """Store a value. IndexError outside the array; UserError: the type does not hold it."""
        self._memory.write(self.address_of(self._inside(index)), packed(self._form, value))

    def _inside(self, index: int) -> int:
        if not -self._length <= index < self._length:
            raise IndexError(f"index {index} of an array of {self._length}")
        return index % self._length

    def __iter__(self) -> Iterator[Number]:
        return iter(self[:])

    def __repr__(self) -> str:
        values: list[Number] = [
            value for (value,) in self._form.iter_unpack(self._memory.read(self.address, self.size))
        ]
        return f"array({self.type!r}, {self.address:#x}, {values})"


def packed(form: struct.Struct, value: float) -> bytes:
    """`value` as the bytes of a type. UserError: it does not fit."""
    try:
        return form.pack(value)
    except struct.error as error:
        raise UserError(f"{value!r} does not fit: {error}") from None
