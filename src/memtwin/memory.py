# SPDX-License-Identifier: LGPL-2.1-or-later
"""Memory: whatever has addresses. A process's address space, a snapshot of a live process, a core file.

    window        a lazily committed host mapping of 2**window_bits bytes; the byte at address `a` may live at
                  offset a mod 2**window_bits
    permissions   one byte a page of the window:

                    7   6   5   4   3   2   1   0
                  +---+---+---+---+---+---+---+---+
                  |    the subclass's own     | W | R |     R: a load, W: a store may go straight to the window
                  +---+---+---+---+---+---+---+---+

A set bit is a promise that the page at *this* address has its bytes in the window and that the access is legal and
needs no bookkeeping; a clear bit promises nothing. So the fast path is a byte test and a load, and a clear bit calls
`fault(address, access)`, the one virtual method: it does what the access asks for (demand zero, copy on write, swap
in, fetch from a live process), may set bits, and returns the host address of the byte, in the window or elsewhere.
It returns 0 when the access is illegal, after `stop` has noted why.

Nothing in here raises: a core that runs a hundred million times a second cannot afford checked exceptions. The four
`stop_*` fields are sticky; the core goes on with zeros until it reaches its door, and the door calls `raise_stop`.
Whoever loops over words of a Memory must look at `stop_signal` in the loop, or zeros may keep it there for ever.
"""

from __future__ import annotations

import ctypes
import gc

import cython

from memtwin.errors import BusError, MemoryFault, OutOfMemoryKilled, SegmentationFault, UserError

if not cython.compiled:
    from memtwin.hostmem import (
        copy,
        fill,
        load8,
        load16,
        load32,
        load64,
        release,
        reserve,
        store8,
        store16,
        store32,
        store64,
    )

    READ, WRITE = 1, 2

    def host_address(m: Memory, address: int, access: int) -> int:
        """Host address of the byte at `address` for this access (READ or WRITE); 0 when the access stopped."""
        at = address & m.mask
        if load8(m.permissions + (at >> m.page_shift)) & access:
            return m.window + at
        return m.fault(address, access)

    def load_u64(m: Memory, address: int) -> int:
        """The 64-bit word at an address that is a multiple of 8; 0 when the access stopped."""
        host = host_address(m, address, READ)
        return load64(host) if host else 0

    def load_u32(m: Memory, address: int) -> int:
        """The 32-bit word at an aligned address."""
        host = host_address(m, address, READ)
        return load32(host) if host else 0

    def load_u16(m: Memory, address: int) -> int:
        """The 16-bit word at an aligned address."""
        host = host_address(m, address, READ)
        return load16(host) if host else 0

    def load_u8(m: Memory, address: int) -> int:
        """The byte at an address."""
        host = host_address(m, address, READ)
        return load8(host) if host else 0

    def store_u64(m: Memory, address: int, value: int) -> None:
        """Store a 64-bit word at an aligned address; nothing happens when the access stopped."""
        host = host_address(m, address, WRITE)
        if host:
            store64(host, value)

    def store_u32(m: Memory, address: int, value: int) -> None:
        """Store a 32-bit word."""
        host = host_address(m, address, WRITE)
        if host:
            store32(host, value)

    def store_u16(m: Memory, address: int, value: int) -> None:
        """Store a 16-bit word."""
        host = host_address(m, address, WRITE)
        if host:
            store16(host, value)

    def store_u8(m: Memory, address: int, value: int) -> None:
        """Store a byte."""
        host = host_address(m, address, WRITE)
        if host:
            store8(host, value)


SIGKILL = 9
_ACCESS_NAMES = {1: "read", 2: "write"}


def address_of(room: bytearray) -> int:
    """Host address of a bytearray's first byte; valid while the caller keeps the bytearray and its length."""
    return ctypes.addressof(ctypes.c_char.from_buffer(room))


class Memory:
    """Addresses with bytes behind them; see the module's text for the window and the permission byte.

    page_size: bytes, a power of two from 4 KiB to 64 KiB. window_bits: the wish for the window's size; where the
    host refuses so much address space (RLIMIT_AS, strict overcommit, many twins at once) a smaller one is taken,
    which costs speed where two mappings fold onto each other and nothing else.
    UserError: a page size that is no such power, or a host without even the smallest window.
    """

    def __init__(self, page_size: int = 4096, window_bits: int = 44) -> None:
        self.window = self.permissions = 0
        if page_size not in (4096, 8192, 16384, 65536):
            raise UserError(f"page size {page_size}: it is 4096, 8192, 16384 or 65536 bytes")
        self.page_size = page_size
        self.page_shift = page_size.bit_length() - 1
        for bits in range(window_bits, 25, -2):
            self.window = reserve(1 << bits)
            self.permissions = reserve(1 << (bits - self.page_shift)) if self.window else 0
            if self.permissions:
                break
            if self.window:
                release(self.window, 1 << bits)
            if bits == window_bits:
                gc.collect()  # twins that nobody needs any more may hold windows
        if not self.permissions:
            self.window = 0
            raise UserError("the host gives no address space for a window: raise RLIMIT_AS (ulimit -v)")
        self.window_bits = bits
        self.mask = (1 << bits) - 1
        self.stop_signal = self.stop_code = self.stop_access = 0
        self.stop_address = 0

    def __del__(self) -> None:
        if self.permissions:
            release(self.window, self.mask + 1)
            release(self.permissions, (self.mask + 1) >> self.page_shift)
            self.permissions = 0

    def fault(self, address: int, access: int) -> int:
        """The access is not known to be legal: make it so and return the byte's host address, or stop and return 0.

        Virtual; a plain Memory has no pages, so that every access stops with SIGSEGV.
        """
        self.stop(11, 1, address, access)
        return 0

    def stop(self, signal: int, code: int, address: int, access: int) -> None:
        """Note the first illegal access; later ones, made with the zeros it left, are not news."""
        if self.stop_signal == 0:
            self.stop_signal = signal
            self.stop_code = code
            self.stop_address = address
            self.stop_access = access

    def reach(self, address: int, access: int) -> int:
        """Host address of the byte at `address`; 0 when the access stopped. `host_address` for callers far away."""
        return host_address(self, address, access)

    def move(self, to: int, source: int, length: int) -> bool:
        """memcpy of two ranges that do not overlap, or with to < source; False when an access stopped half-way."""
        while length:
            step = min(length, self.page_size - (to & (self.page_size - 1)))
            step = min(step, self.page_size - (source & (self.page_size - 1)))
            origin = host_address(self, source, READ)
            target = host_address(self, to, WRITE)
            # the write fault may have moved the source's bytes (copy on write into the window)
            origin = host_address(self, source, READ) if target and origin else 0
            if origin == 0:
                return False
            copy(target, origin, step)
            to += step
            source += step
            length -= step
        return True

    def clear(self, address: int, value: int, length: int) -> bool:
        """memset of `length` bytes; False when an access stopped half-way."""
        while length:
            step = min(length, self.page_size - (address & (self.page_size - 1)))
            target = host_address(self, address, WRITE)
            if target == 0:
                return False
            fill(target, value, step)
            address += step
            length -= step
        return True

    def get(self, host: int, address: int, length: int) -> bool:
        """Copy out: `length` bytes from `address` to host memory; False when an access stopped half-way."""
        while length:
            step = min(length, self.page_size - (address & (self.page_size - 1)))
            origin = host_address(self, address, READ)
            if origin == 0:
                return False
            copy(host, origin, step)
            host += step
            address += step
            length -= step
        return True

    def put(self, address: int, host: int, length: int) -> bool:
        """Copy in: `length` bytes of host memory to `address`; False when an access stopped half-way."""
        while length:
            step = min(length, self.page_size - (address & (self.page_size - 1)))
            target = host_address(self, address, WRITE)
            if target == 0:
                return False
            copy(target, host, step)
            host += step
            address += step
            length -= step
        return True

    # The door for Python: these raise.

    def read(self, address: int, length: int) -> bytes:
        """`length` bytes at `address`. SegmentationFault or BusError where a process would get the signal."""
        if length < 0:
            raise UserError(f"cannot read {length} bytes")
        room = bytearray(length)
        if length and not self.get(address_of(room), address, length):
            self.raise_stop()
        return bytes(room)

    def write(self, address: int, data: bytes) -> None:
        """Store `data` at `address`; what was stored before the first illegal page stays stored, as on the host."""
        room = bytearray(data)
        if room and not self.put(address, address_of(room), len(room)):
            self.raise_stop()

    def raise_stop(self) -> None:
        """Raise what the sticky stop fields hold, and clear them; does nothing when there is no stop."""
        signal, code, address, access = self.stop_signal, self.stop_code, self.stop_address, self.stop_access
        if signal == 0:
            return
        self.stop_signal = self.stop_code = self.stop_access = 0
        self.stop_address = 0
        if signal == SIGKILL:  # no frame was free, and nothing could be reclaimed: there was no access to blame
            raise OutOfMemoryKilled("killed: the machine had no frame left for it")
        kind: type[MemoryFault] = SegmentationFault if signal == 11 else BusError
        reason = self.why(address, code) if signal == 11 else self.why_no_page(address)
        raise kind(address, _ACCESS_NAMES[access], code, reason)

    def why(self, address: int, code: int) -> str:
        """The reason of a stop in words, for a person; subclasses know more."""
        return "no mapping there" if code == 1 else "the mapping does not allow it"

    def why_no_page(self, address: int) -> str:
        """The reason of SIGBUS in words."""
        return "the file ends before that page"
