# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Looking at a heap without an access: words, chunks and lists, read through the page table as they lie in frames.

Nothing faults, nothing is counted, and what is not in memory reads as zeros.
"""

from __future__ import annotations

import cython

from memtwin.kernel.addrspace import AddressSpace

if not cython.compiled:
    from memtwin.hostmem import load32, load64
    from memtwin.kernel.flags import PTE_HUGE, PTE_MAPPED, PTE_ZERO


def peek(space: AddressSpace, address: int, word: int) -> int:
    """The word of 8 or 4 bytes at an aligned address."""
    place = space.pages.entry(address)
    inside = address & (space.page_size - 1)
    if place == 0:
        place = space.pages.upper(address)
        if place == 0 or not load64(place) & PTE_HUGE:
            return 0
        inside = address & ((1 << space.pages.table_shift) - 1)
    entry = load64(place)
    if not entry & PTE_MAPPED or entry & PTE_ZERO:
        return 0
    frame = (entry >> space.page_shift) + (inside >> space.page_shift)
    home = load64(space.frames.home_at + 8 * frame)
    if home == 0:
        return 0
    home += inside & (space.page_size - 1)
    return load64(home) if word == 8 else load32(home)


def chunk_starts(space: AddressSpace, start: int, top: int, end: int, most: int, word: int) -> list[int]:
    """The addresses of the chunks from `start` on, the top's the last; at most so many.

    A heap that is full ends with its fence. Where one is damaged, what follows cannot be told apart, and is left out.
    """
    found: list[int] = []
    at = start
    count = 0
    while count < most:
        size = peek(space, at + word, word) & ~7
        if at != top and (size < 2 * word or size > end - at):
            break
        found.append(at)
        if at == top:
            break
        at += size
        count += 1
    return found


def ring(space: AddressSpace, head: int, most: int, word: int) -> list[int]:
    """The chunks of a bin from its first to its last; head: the bin, as a chunk. At most so many."""
    found: list[int] = []
    at = peek(space, head + 2 * word, word)
    count = 0
    while at != 0 and at != head and count < most:
        found.append(at)
        at = peek(space, at + 2 * word, word)
        count += 1
    return found
