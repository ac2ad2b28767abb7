# SPDX-License-Identifier: LGPL-2.1-or-later
"""Chunks that look in use to their neighbours although they are free: those in tcaches and fast bins.

Both are singly linked lists through the chunks' first words, each link XORed with its own address shifted right by 12
bits (safe-linking, glibc a1a486d70ebc, 2.32).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from memtwin.kernel.addrspace import AddressSpace
from memtwin.libc.malloc import Malloc
from memtwin.libc.peek import peek
from memtwin.replay.walk import MARK_FAST, MARK_TCACHE

AV_FASTBINS, NFASTBINS = 16, 10


def word(space: AddressSpace, address: int) -> int:
    """The 64-bit word at an address, without an access; 0 where nothing is, as at an address that is not aligned."""
    return 0 if address & 7 or not 0 < address < int(space.task_size) else int(peek(space, address, 8))


def words(space: AddressSpace, address: int, count: int) -> list[int]:
    """`count` 64-bit words from an address on, without an access."""
    return [word(space, address + 8 * index) for index in range(count)]


def chain(malloc: Malloc, first: int, offset: int) -> list[int]:
    """The memory addresses of a list whose links are addresses of memory less `offset`; up to where it bites itself."""
    found: dict[int, None] = {}
    while first and (memory := first + offset) not in found:
        found[memory] = None
        first = ((memory >> 12) & malloc.link_mask) ^ word(malloc.space, memory)
    return list(found)


def kept_chunks(malloc: Malloc, arenas: list[int]) -> npt.NDArray[np.uint64]:
    """Sorted memory addresses of all chunks in tcaches (bit 0 clear) and fast bins (bit 0 set)."""
    found: list[int] = []
    for cache in malloc.caches():
        for memory in words(malloc.space, cache + malloc.tcache_entries, malloc.tcache_all_bins):
            found += [one | MARK_TCACHE for one in chain(malloc, memory, 0)]
    for arena in () if malloc.no_fastbins else arenas:
        for chunk in words(malloc.space, arena + AV_FASTBINS, NFASTBINS):
            found += [one | MARK_FAST for one in chain(malloc, chunk, 16)]
    return np.array(sorted(found), np.uint64)
