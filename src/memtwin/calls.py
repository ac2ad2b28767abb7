# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a process of the twin and one of the host have in common: everything that is built on their single calls.

Typed looks at memory, words and texts, and the chapter's helpers around malloc. `errno`, `minflt` and `majflt` are
those of the last call, of a helper: of all it does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import NoReturn

from memtwin.errors import Exited, UserError
from memtwin.typed import Array, Typed, letter_of

MAX_AT_ONCE = 1 << 28  # bytes of one read or write
MAX_STRING = 1 << 20  # bytes that `string` looks for a zero in


class Calls(ABC):
    """A process that makes single calls, and what can be made of them.

    pid; errno: 0, or why the last call failed; minflt, majflt: page faults of the last call; word: bytes of a pointer.
    """

    pid: int
    errno: int
    minflt: int
    majflt: int
    word: int = 8

    @abstractmethod
    def malloc(self, size: int) -> int:
        """malloc(3)."""

    @abstractmethod
    def memset(self, address: int, value: int, length: int) -> None:
        """memset(3)."""

    @abstractmethod
    def read(self, address: int, length: int) -> bytes:
        """The bytes at an address."""

    @abstractmethod
    def write(self, address: int, data: bytes) -> None:
        """Store bytes at an address."""

    @abstractmethod
    def _leave(self, death: Exited) -> NoReturn:
        """End the process and raise `death`."""

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Count the faults of what was called before and of what is called inside as one call's, keep its errno."""
        errno, minflt, majflt = self.errno, self.minflt, self.majflt
        try:
            yield
        finally:
            self.errno, self.minflt, self.majflt = errno, self.minflt + minflt, self.majflt + majflt

    # The chapter's helpers.

    def xmalloc(self, size: int) -> int:
        """malloc that ends the process with a message when there is no memory. Exited."""
        return self.malloc(size) or self._without_memory("xmalloc", size)

    def malloc0(self, size: int) -> int:
        """malloc and memset: a block of zeros, or 0 with errno ENOMEM."""
        pointer = self.malloc(size)
        if pointer:
            with self._together():
                self.memset(pointer, 0, size)
        return pointer

    def xmalloc0(self, size: int) -> int:
        """malloc0 that ends the process with a message when there is no memory. Exited."""
        return self.malloc0(size) or self._without_memory("xmalloc0", size)

    def _without_memory(self, name: str, size: int) -> NoReturn:
        self._leave(Exited(1, f"{name}: out of memory (allocating {size} bytes)"))

    # Typed looks at memory.

    @cached_property
    def u8(self) -> Typed[int]:
        """Unsigned bytes: `p.u8[address]`."""
        return Typed(self, "B")

    @cached_property
    def u16(self) -> Typed[int]:
        """Unsigned 16-bit integers, little endian, aligned or not."""
        return Typed(self, "H")

    @cached_property
    def u32(self) -> Typed[int]:
        """Unsigned 32-bit integers."""
        return Typed(self, "I")

    @cached_property
    def u64(self) -> Typed[int]:
        """Unsigned 64-bit integers: `p.u64[address] = 7`."""
        return Typed(self, "Q")

    @cached_property
    def i8(self) -> Typed[int]:
        """Signed bytes."""
        return Typed(self, "b")

    @cached_property
    def i16(self) -> Typed[int]:
        """Signed 16-bit integers."""
        return Typed(self, "h")

    @cached_property
    def i32(self) -> Typed[int]:
        """Signed 32-bit integers, C's int."""
        return Typed(self, "i")

    @cached_property
    def i64(self) -> Typed[int]:
        """Signed 64-bit integers."""
        return Typed(self, "q")

    @cached_property
    def f32(self) -> Typed[float]:
        """C's float."""
        return Typed(self, "f")

    @cached_property
    def f64(self) -> Typed[float]:
        """C's double."""
        return Typed(self, "d")

    @cached_property
    def pointer(self) -> Typed[int]:
        """Pointers: words of the data model."""
        return Typed(self, letter_of("pointer", self.word))

    def array(self, type: str, address: int, length: int) -> Array[int]:
        """`length` values of a C type ("int", "unsigned long", or a letter of the struct module) from `address` on.

        Values of "float" and "double" are floats. UserError: no such type, or a length below 0.
        """
        if length < 0:
            raise UserError(f"an array of {length} values: give a length from 0 on")
        return Array(self, type, letter_of(type, self.word), address, length)

    def read_u64(self, address: int) -> int:
        """The 64-bit word at `address`."""
        return self.u64[address]

    def write_u64(self, address: int, value: int) -> None:
        """Store a 64-bit word; of a larger number its low 64 bits."""
        self.u64[address] = value & (1 << 64) - 1

    def string(self, address: int) -> bytes:
        """The bytes from `address` to the next zero, as C's functions see them. UserError: none within 1 MiB."""
        found = b""
        self.errno = self.minflt = self.majflt = 0
        while b"\0" not in found:
            if len(found) >= MAX_STRING:
                raise UserError(f"no zero byte within {MAX_STRING} bytes from {address:#x} on")
            at = address + len(found)
            with self._together():
                found += self.read(at, 64 - at % 64)
        return found[: found.index(0)]
