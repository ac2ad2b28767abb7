# SPDX-License-Identifier: LGPL-2.1-or-later
"""The C library's allocator as a C program calls it: names, order of arguments and results are the manual's."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from memtwin.calls import Calls
from memtwin.errors import UserError
from memtwin.libc import stats
from memtwin.libc.malloc import Malloc
from memtwin.libc.mcheck import MCHECK_DISABLED, McheckMalloc

WORD = 2**64 - 1
_ENOMEM = 12


class HeapCalls(Calls):
    """malloc(3) and its family on the twin. What glibc notices and aborts for raises Aborted with its message."""

    libc: Malloc

    @abstractmethod
    def _do(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Make one call as the process."""

    def _libc(self, call: Callable[..., int | None], *arguments: int) -> int:
        mask = self.libc.word_mask
        return int(self._do(call, *(integer(argument) & mask for argument in arguments)) or 0)

    def malloc(self, size: int) -> int:
        """malloc(3) of `size` bytes: a pointer, or 0 with errno ENOMEM. The bytes are whatever they were."""
        return self._libc(self.libc.malloc, size)

    def calloc(self, count: int, size: int) -> int:
        """calloc(3): `count` times `size` bytes of zeros; 0 with errno ENOMEM, also when the product overflows."""
        return self._libc(self.libc.calloc, count, size)

    def realloc(self, pointer: int, size: int) -> int:
        """realloc(3): the block's new place; of 0 is malloc, to 0 is free and returns 0. 0 with ENOMEM: it stays."""
        return self._libc(self.libc.realloc, pointer, size)

    def reallocarray(self, pointer: int, count: int, size: int) -> int:
        """reallocarray(3): realloc to `count` times `size` bytes; 0 with errno ENOMEM when the product overflows."""
        return self._libc(self.libc.reallocarray, pointer, count, size)

    def free(self, pointer: int) -> None:
        """free(3); of 0 does nothing. Aborted: a pointer that malloc did not give, or one freed twice."""
        self._libc(self.libc.free, pointer)

    def memalign(self, alignment: int, size: int) -> int:
        """memalign(3): a pointer that is a multiple of `alignment`, or 0 with errno EINVAL or ENOMEM."""
        return self._libc(self.libc.memalign, alignment, size)

    def posix_memalign(self, memptr: int, alignment: int, size: int) -> int:
        """posix_memalign(3): 0, EINVAL or ENOMEM; the block's address is stored at `memptr`."""
        pointer = self._libc(self.libc.posix_memalign, alignment, size)
        if pointer == 0:
            error = self.errno
            self.errno = error if error == _ENOMEM else 0  # glibc's own memalign has set it
            return error
        with self._together():
            self.pointer[memptr] = pointer
        return 0

    def aligned_alloc(self, alignment: int, size: int) -> int:
        """aligned_alloc(3): as memalign; since glibc 2.38 EINVAL when `alignment` is no power of two."""
        return self._libc(self.libc.aligned_alloc, alignment, size)

    def valloc(self, size: int) -> int:
        """valloc(3): a pointer at the start of a page."""
        return self._libc(self.libc.valloc, size)

    def pvalloc(self, size: int) -> int:
        """pvalloc(3): whole pages."""
        return self._libc(self.libc.pvalloc, size)

    def malloc_usable_size(self, pointer: int) -> int:
        """malloc_usable_size(3): bytes that may be used, at least those asked for; 0 for 0."""
        return self._libc(self.libc.malloc_usable_size, pointer)

    def mprobe(self, pointer: int) -> int:
        """mprobe(3): MCHECK_OK, or MCHECK_DISABLED in a process without mcheck. Aborted: the block is damaged."""
        libc = self.libc
        if not isinstance(libc, McheckMalloc):
            return MCHECK_DISABLED
        return int(self._do(libc.mprobe, integer(pointer) & libc.word_mask))

    def mcheck_check_all(self) -> None:
        """mcheck_check_all(3): looks at all blocks where mcheck is on. Aborted: one is damaged."""
        if isinstance(self.libc, McheckMalloc):
            self._do(self.libc.mcheck_check_all)

    def malloc_trim(self, pad: int = 0) -> int:
        """malloc_trim(3): give back what can be given, all but `pad` bytes at the top; 1 when anything was, else 0."""
        return self._libc(self.libc.malloc_trim, pad)

    def mallopt(self, parameter: int, value: int) -> int:
        """mallopt(3): M_* of malloc.h (memtwin.constants); 1, or 0 when glibc refuses the value."""
        return int(self._do(self.libc.mallopt, int32(parameter), int32(value)))

    def mallinfo(self) -> dict[str, int]:
        """mallinfo(3), field by field: bytes and counts in C's ints, which wrap beyond 2 GiB."""
        found: dict[str, int] = self._do(stats.mallinfo, self.libc)
        return found

    def mallinfo2(self) -> dict[str, int]:
        """mallinfo2(3), field by field: bytes and counts in size_t. Since glibc 2.33."""
        found: dict[str, int] = self._do(stats.mallinfo2, self.libc)
        return found

    def malloc_stats(self) -> str:
        """The text that malloc_stats(3) writes to standard error."""
        return str(self._do(stats.malloc_stats, self.libc))

    def malloc_info(self) -> str:
        """The XML that malloc_info(3) writes."""
        return str(self._do(stats.malloc_info, self.libc))


def integer(value: Any) -> int:
    """`value`, when it is an integer. UserError."""
    if not isinstance(value, int):
        raise UserError(f"{value!r} is no integer")
    return value


def int32(value: Any) -> int:
    """An int argument as C sees it: the low 32 bits, signed."""
    return (integer(value) + (1 << 31) & 0xFFFFFFFF) - (1 << 31)


def int64(value: Any) -> int:
    """A long argument as C sees it."""
    return (integer(value) + (1 << 63) & WORD) - (1 << 63)
