# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Where the bytes of an address space's pages are, and what its permission bytes grant.

A frame's `home` says where its bytes are. A page that was only touched has none. The first store into a private page
gives it its place in the window of the space that stores (`claim`); frames of files, and those whose place in the
window is not free, have their bytes in the machine's `storage`. When a frame leaves a space whose window holds its
bytes while other spaces still map it, its bytes move to `storage` (`leave_window`).
"""

from __future__ import annotations

from typing import Any

import cython

from memtwin.kernel.frames import Frames
from memtwin.kernel.window import Window

if not cython.compiled:
    from memtwin.hostmem import copy, load8, load16, load64, store8, store64
    from memtwin.kernel.flags import (
        BYTES,
        FRAME_FILE,
        PTE_DIRTY,
        PTE_MAPPED,
        PTE_PKEY,
        PTE_PRESENT,
        PTE_WRITABLE,
        PTE_ZERO,
        TOUCHED,
    )
    from memtwin.memory import READ, WRITE


class PageBytes(Window):
    """A Window that a page table fills. frames: the machine's; pages: the PageTable, None at first."""

    def __init__(self, page_size: int, window_bits: int, frames: Frames) -> None:
        self.frames = frames
        self.pages: Any = None
        Window.__init__(self, page_size, window_bits)

    def leave_window(self, pfn: int, address: int) -> None:
        """The page at `address` stops mapping the frame: if this window holds its bytes, they move to `storage`."""
        here = self.window + (address & self.mask)
        if load64(self.frames.home_at + 8 * pfn) == here:
            copy(self.frames.own_bytes(pfn), here, self.page_size)

    def unfold(self, start: int) -> None:
        """The pages of the piece that begins at `start` leave the window: bytes to `storage`, no permission."""
        end = start + (1 << self.chunk_shift)
        while start < end:
            mapped = self.pages.find(start) != 0 or (self.pages.reserved != 0 and self.pages.reserved_at(start) != 0)
            stop = self.pages.reach if self.pages.reach < end else end
            first = start
            while mapped and start < stop:
                pte = self.pages.pte(start)
                if pte & PTE_MAPPED and not pte & PTE_ZERO:
                    self.leave_window(pte >> self.page_shift, start)
                start += self.page_size
            if mapped:
                self.wipe_window(first, stop)
            start = stop

    def grant(self, address: int, pte: int) -> None:
        """Set the permission bits that `pte` now grants to the page at `address`, and clear the others.

        A file's page never has its bytes in the window, and others may write them: a load has to look them up.
        """
        at = self.slot(address)
        allowed = pte & (PTE_PRESENT | PTE_PKEY) == PTE_PRESENT and not self.frames.watch
        if not (allowed and self.owns(address)):  # `owns` may wipe the byte
            store8(at, load8(at) & BYTES)
            return
        bits = load8(at) & BYTES
        pfn = pte >> self.page_shift
        home = load64(self.frames.home_at + 8 * pfn)
        if load16(self.frames.flags_at + 2 * pfn) & FRAME_FILE:
            if pte & PTE_WRITABLE and pte & PTE_DIRTY:
                bits |= TOUCHED
        elif home == 0 or home == self.window + (address & self.mask & ~(self.page_size - 1)):
            bits |= READ
            if pte & PTE_WRITABLE and pte & PTE_DIRTY:
                bits |= TOUCHED
                if bits & BYTES:
                    bits |= WRITE
        store8(at, bits)

    def claim(self, address: int, pfn: int) -> int:
        """The writable page at `address` gets its bytes, if it has none: the host address of its first byte."""
        home = load64(self.frames.home_at + 8 * pfn)
        if home:
            return home
        if load16(self.frames.flags_at + 2 * pfn) & FRAME_FILE or not self.owns(address):
            return self.frames.own_bytes(pfn)
        here = self.window + (address & self.mask & ~(self.page_size - 1))
        store64(self.frames.home_at + 8 * pfn, here)
        store8(self.slot(address), load8(self.slot(address)) | BYTES)
        return here

    def bring_bytes(self, old: int, new: int, address: int) -> None:
        """Copy on write: `new` gets the bytes of `old`, in this window."""
        home = self.frames.home(old)
        if home == 0:
            return
        self.leave_window(old, address)
        here = self.claim(address, new)
        if home != here:
            copy(here, home, self.page_size)

    def move_bytes(self, pfn: int, address: int, to: int) -> None:
        """The frame's page moves from `address` to `to`; bytes that lie in the window move along."""
        here = self.window + (address & self.mask)
        if load64(self.frames.home_at + 8 * pfn) == here:
            if not self.owns(to):
                copy(self.frames.own_bytes(pfn), here, self.page_size)
                return
            there = self.window + (to & self.mask)
            copy(there, here, self.page_size)
            store64(self.frames.home_at + 8 * pfn, there)
            store8(self.slot(to), load8(self.slot(to)) | BYTES)
