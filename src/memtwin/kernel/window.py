# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""The window of an address space: onto which place addresses fold, and who owns it.

The window is smaller than the address space, so that several addresses share a permission byte. For each of its pieces
it is noted which fold (address >> window_bits) has it: the first that got a permission there. When a second one comes,
the piece is nobody's for ever: its bytes move to the frames, and every access takes the slow way.
"""

from __future__ import annotations

import cython

from memtwin.memory import Memory

if not cython.compiled:
    from memtwin.hostmem import copy, discard, fill, load8, load32, load64, release, reserve, store8, store32
    from memtwin.kernel.flags import BYTES
    from memtwin.memory import READ, WRITE

    ALL_ONES, BYTES_WORD = 2**64 - 1, 0x0808080808080808
    DISCARD_PAGES, CHUNKS_SHIFT, CONFLICT = 32, 8, 0xFFFFFFF


class Window(Memory):
    """A Memory that knows which address a permission byte is about."""

    def __init__(self, page_size: int, window_bits: int) -> None:
        self.folds = 0
        Memory.__init__(self, page_size, window_bits)
        self.folds = reserve(4096)
        self.chunk_shift = max(self.window_bits - CHUNKS_SHIFT, 2 * self.page_shift + 1)

    def __del__(self) -> None:
        if self.folds:
            release(self.folds, 4096)
            self.folds = 0
        Memory.__del__(self)

    def slot(self, address: int) -> int:
        """Host address of the permission byte of the page at `address`."""
        return self.permissions + ((address & self.mask) >> self.page_shift)

    def owned(self, address: int) -> bool:
        """Whether the permission byte at the address's place in the window is about this address."""
        at = self.folds + 4 * ((address & self.mask) >> self.chunk_shift)
        return load32(at) == (address >> self.window_bits) + 1

    def owns(self, address: int) -> bool:
        """`owned`; the first page that has a permission in a piece of the window makes it its fold's."""
        return self.owned(address) or self.settle(self.folds + 4 * ((address & self.mask) >> self.chunk_shift), address)

    def settle(self, at: int, address: int) -> bool:
        """A piece of the window is nobody's, and becomes the address's; or another's, and becomes nobody's for ever."""
        have = load32(at)
        if have == 0:
            store32(at, (address >> self.window_bits) + 1)
            return True
        if have != CONFLICT:
            store32(at, CONFLICT)
            fold = (self.mask + 1) * (have - 1)  # not `have - 1` shifted: that is of 32 bits when compiled
            self.unfold(fold | (address & self.mask) >> self.chunk_shift << self.chunk_shift)
        return False

    def unfold(self, start: int) -> None:
        """The pages of the piece that begins at `start` leave the window. Virtual."""

    def get(self, host: int, address: int, length: int) -> bool:
        """Copy out, also from addresses whose place in the window is another's."""
        if self.owned(address) and self.owned(address + length - 1):
            return Memory.get(self, host, address, length)
        return self.transfer(address, host, length, READ)

    def put(self, address: int, host: int, length: int) -> bool:
        """Copy in, also to addresses whose place in the window is another's."""
        if self.owned(address) and self.owned(address + length - 1):
            return Memory.put(self, address, host, length)
        return self.transfer(address, host, length, WRITE)

    def transfer(self, address: int, host: int, length: int, access: int) -> bool:
        """`get` or `put` page by page, without a look at permission bytes."""
        while length:
            step = self.page_size - (address & (self.page_size - 1))
            if step > length:
                step = length
            at = self.fault(address & ALL_ONES, access)
            if at == 0:
                return False
            if access == WRITE:
                copy(at, host, step)
            else:
                copy(host, at, step)
            address += step
            host += step
            length -= step
        return True

    def wipe_window(self, start: int, end: int) -> None:
        """No page of [start, end) has bytes in the window any more: zeros there, and no permission.

        A run of DISCARD_PAGES goes back to the host by madvise, a shorter one is cleared in place.
        """
        at = self.slot(start)
        stop = at + ((end - start) >> self.page_shift)
        while at < stop:
            if at & 7 == 0 and stop - at >= 8 and load64(at) & BYTES_WORD == 0:
                at += 8
                continue
            if not load8(at) & BYTES:
                at += 1
                continue
            first = at
            while at < stop and load8(at) & BYTES:
                at += 1
            place = self.window + ((first - self.permissions) << self.page_shift)
            if at - first >= DISCARD_PAGES:
                discard(place, (at - first) << self.page_shift)
            else:
                fill(place, 0, (at - first) << self.page_shift)
        fill(self.slot(start), 0, (end - start) >> self.page_shift)

    def revoke(self, start: int, end: int, bits: int) -> None:
        """Clear `bits` of the permission bytes of [start, end)."""
        at = self.slot(start)
        for i in range((end - start) >> self.page_shift):
            byte = load8(at + i)
            if byte & bits:
                store8(at + i, byte & ~bits)
