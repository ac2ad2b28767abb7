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
from memtwin.replay.walk import MARK_FAST, MARK_TCACHE

AV_FASTBINS, NFASTBINS = 16, 10
_MOST = 1 << 26  # links of one list: more is a circle


def word(space: AddressSpace, address: int) -> int:
    """The 64-bit word at an address."""
    return int.from_bytes(space.read(address, 8), "little")


def words(space: AddressSpace, address: int, count: int) -> list[int]:
    """`count` 64-bit words from an address on."""
    return [int(one) for one in np.frombuffer(space.read(address, 8 * count), np.uint64)]


def chain(malloc: Malloc, first: int, offset: int) -> list[int]:
    """The memory addresses of a list whose links are addresses of memory less `offset`."""
    found: list[int] = []
    while first and len(found) < _MOST:
        memory = first + offset
        found.append(memory)
        first = ((memory >> 12) & malloc.link_mask) ^ word(malloc.space, memory)
    return found


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
