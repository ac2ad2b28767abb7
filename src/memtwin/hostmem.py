# SPDX-License-Identifier: LGPL-2.1-or-later
"""The host's own memory, by address: what the twin's windows, tables and counts are kept in.

This file is never compiled: compiled rooms cimport hostmem.pxd, where each function is one C call or one
instruction; uncompiled rooms import this file, where the same is done with ctypes. An address here is a
host address, never one of the twin's. Nothing is checked: a wrong address ends the interpreter.
"""

from __future__ import annotations

import ctypes

_PROT_READ, _PROT_WRITE = 1, 2
_MAP_PRIVATE, _MAP_ANONYMOUS, _MAP_NORESERVE = 0x02, 0x20, 0x4000
_MADV_DONTNEED, _MADV_NOHUGEPAGE = 4, 15

_libc = ctypes.CDLL(None)
_libc.mmap.restype = ctypes.c_uint64
_libc.mmap.argtypes = [ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64]
_libc.munmap.argtypes = [ctypes.c_uint64, ctypes.c_uint64]
_libc.madvise.argtypes = [ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int]


def reserve(length: int) -> int:
    """Map `length` bytes of zeros that cost nothing until written; the address, or 0 when the host refuses."""
    flags = _MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_NORESERVE
    base = int(_libc.mmap(0, length, _PROT_READ | _PROT_WRITE, flags, -1, 0))
    if base == 2**64 - 1:
        return 0
    _libc.madvise(base, length, _MADV_NOHUGEPAGE)
    return base


def release(base: int, length: int) -> None:
    """Give back what `reserve` gave."""
    _libc.munmap(base, length)


def discard(base: int, length: int) -> None:
    """Make whole host pages read as zeros again and give their frames back to the host."""
    _libc.madvise(base, length, _MADV_DONTNEED)


def load64(at: int) -> int:
    """The little-endian 64-bit word at a host address."""
    return ctypes.c_uint64.from_address(at).value


def load32(at: int) -> int:
    """The 32-bit word at a host address."""
    return ctypes.c_uint32.from_address(at).value


def load16(at: int) -> int:
    """The 16-bit word at a host address."""
    return ctypes.c_uint16.from_address(at).value


def load8(at: int) -> int:
    """The byte at a host address."""
    return ctypes.c_uint8.from_address(at).value


def store64(at: int, value: int) -> None:
    """Store a 64-bit word; higher bits of `value` are dropped, as C does."""
    ctypes.c_uint64.from_address(at).value = value


def store32(at: int, value: int) -> None:
    """Store a 32-bit word."""
    ctypes.c_uint32.from_address(at).value = value


def store16(at: int, value: int) -> None:
    """Store a 16-bit word."""
    ctypes.c_uint16.from_address(at).value = value


def store8(at: int, value: int) -> None:
    """Store a byte."""
    ctypes.c_uint8.from_address(at).value = value


def copy(to: int, source: int, length: int) -> None:
    """memmove: the ranges may overlap."""
    ctypes.memmove(to, source, length)


def fill(at: int, value: int, length: int) -> None:
    """memset."""
    ctypes.memset(at, value, length)


def same(one: int, other: int, length: int) -> bool:
    """Whether two ranges hold the same bytes."""
    return ctypes.string_at(one, length) == ctypes.string_at(other, length)


def prefetch(at: int) -> None:
    """The bytes around a host address, if there are any, are wanted soon: a hint that changes nothing."""
