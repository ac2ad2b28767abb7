# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""The thread cache: per thread, up to tcache_count freed chunks of each of 64 sizes, last in first out.

A cached chunk keeps its in-use bit. Its user data begin with the link to the next one, mangled with its own place
(safe-linking), and with a key by which a second free is noticed:

    user pointer e:   e + 0   (e >> 12) ^ next        e + word   tcache_key

Since 2.42 the cache's 16-bit words count the places that are left, and there are twelve bins more for chunks of
1,040 bytes to 4 MiB, one for each power of two, sorted by size, smallest first.
"""

from __future__ import annotations

import cython

if not cython.compiled:
    from memtwin.libc.bins import chunk_size
    from memtwin.libc.state import (
        ALIGN_MASK,
        ALIGNMENT,
        TCACHE_SMALL_BINS,
        State,
        get,
        get16,
        put,
        put16,
    )

    # Compiled, these are inlined where they are called: their text for that is in the .pxd.

    def tcache_index(s: State, size: int) -> int:
        """The bin for chunks of `size` bytes, header included (csize2tidx)."""
        return (size - s.minsize + ALIGN_MASK) // ALIGNMENT

    def tcache_has_place(s: State, index: int) -> bool:
        """Whether a bin of the thread's cache is not full."""
        count = get16(s, s.tcache + 2 * index)
        return count != 0 if s.tcache_counts_down else count < s.tcache_count

    def tcache_has_room(s: State, index: int) -> bool:
        """Whether the thread has a cache, with such a small bin, that is not full."""
        if s.tcache == 0 or index >= s.tcache_bins:
            return False
        return tcache_has_place(s, index)

    def count_one(s: State, index: int, change: int) -> None:
        """One chunk more (`change` is tcache_one) or fewer in a bin, as the release counts."""
        at = s.tcache + 2 * index
        put16(s, at, (get16(s, at) + change) & 0xFFFF)

    def tcache_put(s: State, p: int, index: int) -> None:
        """The chunk `p` becomes the first of its bin, which has room."""
        entry = s.tcache + s.tcache_entries + s.word * index
        e = p + s.header
        put(s, e + s.word, s.tcache_key)
        put(s, e, ((e >> 12) & s.link_mask) ^ get(s, entry))
        put(s, entry, e)
        count_one(s, index, s.tcache_one)

    def tcache_get(s: State, index: int) -> int:
        """The user pointer of the first chunk of a bin that is not empty."""
        entry = s.tcache + s.tcache_entries + s.word * index
        e = get(s, entry)
        if e & ALIGN_MASK and s.link_mask:
            s.die("malloc(): unaligned tcache chunk detected")
            return 0
        put(s, entry, ((e >> 12) & s.link_mask) ^ get(s, e))
        count_one(s, index, -s.tcache_one)
        put(s, e + s.word, 0)
        return e


def large_tcache_index(size: int) -> int:
    """The large bin for chunks of `size` bytes, from 1,024: one for each power of two (large_csize2tidx)."""
    index = TCACHE_SMALL_BINS
    while size >> 11:
        size >>= 1
        index += 1
    return index


def any_tcache_index(s: State, size: int) -> int:
    """The bin for chunks of `size` bytes, MINSIZE at least: small or large."""
    index = (size - s.minsize) // ALIGNMENT
    return index if index < TCACHE_SMALL_BINS else large_tcache_index(size)


def new_tcache(s: State, mem: int) -> None:
    """The block `mem`, of tcache_bytes, becomes the thread's cache, empty."""
    s.set_tcache(mem)
    s.space.clear(mem, 0, s.tcache_bytes)
    if s.tcache_counts_down:
        for index in range(s.tcache_all_bins):
            put16(s, mem + 2 * index, s.tcache_count)


# links: those in the cache itself are plain, those between chunks are mangled


def link_at(s: State, place: int, mangled: bool) -> int:
    """Where the link at `place` leads."""
    return ((place >> 12) & s.link_mask) ^ get(s, place) if mangled else get(s, place)


def set_link(s: State, place: int, mangled: bool, e: int) -> None:
    """Let the link at `place` lead to `e`."""
    put(s, place, ((place >> 12) & s.link_mask) ^ e if mangled else e)


def tcache_put_large(s: State, p: int, index: int) -> None:
    """The chunk goes to a large bin, which has room, in front of the first that is not smaller."""
    size = chunk_size(s, p)
    place = s.tcache + s.tcache_entries + s.word * index
    mangled = False
    e = get(s, place)
    while e and chunk_size(s, e - s.header) < size and not s.space.stop_signal:
        place = e
        mangled = True
        e = link_at(s, place, True)
    mem = p + s.header
    put(s, mem + s.word, s.tcache_key)
    set_link(s, mem, True, e)
    set_link(s, place, mangled, mem)
    count_one(s, index, s.tcache_one)


def take_linked(s: State, index: int, place: int, mangled: bool, e: int) -> int:
    """Take the chunk that the link at `place` leads to out of its bin; its user pointer."""
    if e & ALIGN_MASK:
        s.die("malloc(): unaligned tcache chunk detected")
        return 0
    set_link(s, place, mangled, link_at(s, e, True))
    count_one(s, index, -s.tcache_one)
    put(s, e + s.word, 0)
    return e


def tcache_get_large(s: State, index: int, nb: int) -> int:
    """A chunk of `nb` out of a large bin (in 2.42 the first that is not smaller); 0 when there is none."""
    place = s.tcache + s.tcache_entries + s.word * index
    mangled = False
    e = get(s, place)
    while e and chunk_size(s, e - s.header) < nb and not s.space.stop_signal:
        place = e
        mangled = True
        e = link_at(s, place, True)
    if e == 0 or (s.exact_large_tcache and chunk_size(s, e - s.header) != nb):
        return 0
    return take_linked(s, index, place, mangled, e)


def tcache_get_aligned(s: State, index: int, nb: int, alignment: int) -> int:
    """The first chunk of a bin whose memory is aligned (and, since 2.42, of just `nb`); 0 when there is none."""
    place = s.tcache + s.tcache_entries + s.word * index
    mangled = False
    e = get(s, place)
    size = nb
    while e and not s.space.stop_signal:
        if s.tcache_large_bins:
            size = chunk_size(s, e - s.header)
        if size > nb or (size == nb and e & (alignment - 1) == 0):
            break
        place = e
        mangled = True
        e = link_at(s, place, True)
    return take_linked(s, index, place, mangled, e) if e and size == nb else 0


def tcache_holds(s: State, mem: int, index: int) -> bool:
    """The key says that `mem` is cached: look for it in a bin; aborts when it is there, or the bin is broken."""
    e = get(s, s.tcache + s.tcache_entries + s.word * index)
    count = 0
    while e:
        if count >= s.tcache_count and s.tcache_walk_ends:
            s.die("free(): too many chunks detected in tcache")
        elif e & ALIGN_MASK and s.link_mask:
            s.die("free(): unaligned chunk detected in tcache 2")
        elif e == mem:
            s.die("free(): double free detected in tcache 2")
        if s.dead or s.space.stop_signal:
            return True
        e = ((e >> 12) & s.link_mask) ^ get(s, e)
        count += 1
    return False
