# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Bins: the doubly linked lists of free chunks, and the fast bins that malloc_consolidate empties into them.

bin 1         unsorted: freed chunks and remainders, before they are sorted
bins 2…63     small: one size each, 32, 48, … 1008, first in first out
bins 64…126   large: ranges of sizes, each sorted from large to small; the first chunk of each size is also on a
              ring of sizes (fd_nextsize down, bk_nextsize up)
fast bins     32 … 128 bytes: single links, last in first out, chunks that keep their in-use bit
"""

from __future__ import annotations

import cython

if not cython.compiled:
    from memtwin.libc.state import (
        ALIGN_MASK,
        AV_FASTBINS,
        AV_FLAGS,
        AV_HAVE_FASTCHUNKS,
        MIN_LARGE_SIZE,
        MINSIZE,
        NBINS,
        NFASTBINS,
        NON_MAIN_ARENA,
        NONCONTIGUOUS,
        PREV_INUSE,
        PTRDIFF_MAX,
        SIZE_BITS,
        State,
        get,
        get32,
        put,
        put32,
    )

    def chunk_size(s: State, p: int) -> int:
        """A chunk's size without its flag bits."""
        return get(s, p + 8) & ~SIZE_BITS

    def bin_at(s: State, av: int, index: int) -> int:
        """The bin, addressed as a chunk."""
        return av + s.av_bins - 32 + 16 * index

    def have_fastchunks(s: State, av: int) -> bool:
        """Whether the arena's fast bins may have chunks."""
        return not s.no_fastbins and get32(s, av + AV_HAVE_FASTCHUNKS) != 0

    def contiguous(s: State, av: int) -> bool:
        """Whether the arena's memory is one piece, grown by the break."""
        return not get32(s, av + AV_FLAGS) & NONCONTIGUOUS

    def set_bit(s: State, at: int, bit: int) -> None:
        """Set flag bits in the word at `at`."""
        put(s, at, get(s, at) | bit)

    def request_size(request: int) -> int:
        """The chunk size for a request, header and alignment included; 0 when it is over PTRDIFF_MAX."""
        if request > PTRDIFF_MAX:
            return 0
        if request + 8 + ALIGN_MASK < MINSIZE:
            return MINSIZE
        return (request + 8 + ALIGN_MASK) & ~ALIGN_MASK


def large_index(size: int) -> int:
    """The large bin for a size (largebin_index_64)."""
    if size >> 6 <= 48:
        return 48 + (size >> 6)
    if size >> 9 <= 20:
        return 91 + (size >> 9)
    if size >> 12 <= 10:
        return 110 + (size >> 12)
    if size >> 15 <= 4:
        return 119 + (size >> 15)
    if size >> 18 <= 2:
        return 124 + (size >> 18)
    return 126


def bin_index(size: int) -> int:
    """The bin for a free chunk of `size`."""
    return size >> 4 if size < MIN_LARGE_SIZE else large_index(size)


def init_arena(s: State, av: int) -> None:
    """malloc_init_state: all bins empty, no top yet (the unsorted bin stands in for it)."""
    for index in range(1, NBINS):
        bin = bin_at(s, av, index)
        put(s, bin + 16, bin)
        put(s, bin + 24, bin)
    if av != s.main_arena:
        put32(s, av + AV_FLAGS, get32(s, av + AV_FLAGS) | NONCONTIGUOUS)
    if not s.no_fastbins:
        put32(s, av + AV_HAVE_FASTCHUNKS, 0)
    put(s, av + s.av_top, bin_at(s, av, 1))


def mark_in_use(s: State, av: int, p: int, size: int) -> None:
    """The chunk above learns that `p` is in use; `p` learns whose it is."""
    set_bit(s, p + size + 8, PREV_INUSE)
    if av != s.main_arena:
        set_bit(s, p + 8, NON_MAIN_ARENA)


def unlink_chunk(s: State, av: int, p: int) -> None:
    """Take a free chunk off its list, whichever it is."""
    size = chunk_size(s, p)
    if size != get(s, p + size):
        s.die("corrupted size vs. prev_size")
        return
    forward = get(s, p + 16)
    back = get(s, p + 24)
    if get(s, forward + 24) != p or get(s, back + 16) != p:
        s.die("corrupted double-linked list")
        return
    put(s, forward + 24, back)
    put(s, back + 16, forward)
    if get(s, p + 8) < MIN_LARGE_SIZE:
        return
    smaller = get(s, p + 32)
    if smaller == 0:
        return
    larger = get(s, p + 40)
    if get(s, smaller + 40) != p or get(s, larger + 32) != p:
        s.die("corrupted double-linked list (not small)")
    elif get(s, forward + 32):
        put(s, smaller + 40, larger)
        put(s, larger + 32, smaller)
    elif smaller == p:
        put(s, forward + 32, forward)
        put(s, forward + 40, forward)
    else:
        put(s, forward + 32, smaller)
        put(s, forward + 40, larger)
        put(s, smaller + 40, forward)
        put(s, larger + 32, forward)


def put_unsorted(s: State, av: int, p: int, size: int, message: str) -> bool:
    """The free chunk becomes the first of the unsorted bin. Aborts with `message` when the bin is broken."""
    unsorted = bin_at(s, av, 1)
    first = get(s, unsorted + 16)
    if get(s, first + 24) != unsorted:
        s.die(message)
        return False
    put(s, p + 24, unsorted)
    put(s, p + 16, first)
    if size >= MIN_LARGE_SIZE:
        put(s, p + 32, 0)
        put(s, p + 40, 0)
    put(s, unsorted + 16, p)
    put(s, first + 24, p)
    return True


def put_small(s: State, av: int, p: int, size: int) -> bool:
    """The free chunk becomes the first of its small bin, since 2.41. Aborts when the bin is broken."""
    index = size >> 4
    bin = bin_at(s, av, index)
    first = get(s, bin + 16)
    if get(s, first + 24) != bin:
        s.die("free(): chunks in smallbin corrupted")
        return False
    mark_bin(s, av, index)
    link_between(s, p, bin, first)
    return True


def link_between(s: State, p: int, back: int, forward: int) -> None:
    """The chunk takes its place in a list."""
    put(s, p + 24, back)
    put(s, p + 16, forward)
    put(s, forward + 24, p)
    put(s, back + 16, p)


def mark_bin(s: State, av: int, index: int) -> None:
    """Note in the bit map that the bin may have chunks."""
    at = av + s.av_binmap + 4 * (index >> 5)
    put32(s, at, get32(s, at) | (1 << (index & 31)))


def put_large(s: State, av: int, p: int, size: int) -> None:
    """Sort a free chunk into its bin, small or large."""
    index = bin_index(size)
    bin = bin_at(s, av, index)
    back = bin
    forward = get(s, bin + 16)
    if size >= MIN_LARGE_SIZE:
        if forward == bin:
            put(s, p + 32, p)
            put(s, p + 40, p)
        else:
            last = get(s, bin + 24)
            if (size | PREV_INUSE) < get(s, last + 8):
                back = last
                largest = forward
                forward = bin
                put(s, p + 32, largest)
                smallest = get(s, largest + 40)
                if s.checks_nextsize and get(s, smallest + 32) != largest:
                    s.die("malloc(): largebin double linked list corrupted (nextsize)")
                    return
                put(s, p + 40, smallest)
                put(s, smallest + 32, p)
                put(s, largest + 40, p)
            else:
                forward = place_by_size(s, p, size | PREV_INUSE, forward)
                back = get(s, forward + 24)
                if s.dead:
                    return
                if get(s, back + 16) != forward:
                    s.die("malloc(): largebin double linked list corrupted (bk)")
                    return
    mark_bin(s, av, index)
    link_between(s, p, back, forward)


def place_by_size(s: State, p: int, head: int, forward: int) -> int:
    """Walk the ring of sizes down from the largest; returns the chunk that `p` goes in front of.

    A size that is there already keeps its place on the ring: `p` becomes the second of that size.
    """
    while head < get(s, forward + 8) and not s.space.stop_signal:
        forward = get(s, forward + 32)
    if head == get(s, forward + 8):
        return get(s, forward + 16)
    larger = get(s, forward + 40)
    put(s, p + 32, forward)
    put(s, p + 40, larger)
    if get(s, larger + 32) != forward:
        s.die("malloc(): largebin double linked list corrupted (nextsize)")
        return forward
    put(s, forward + 40, p)
    put(s, larger + 32, p)
    return forward


def consolidate(s: State, av: int) -> None:
    """malloc_consolidate: every chunk of the fast bins joins its free neighbours, in the unsorted bin or the top."""
    if s.no_fastbins:
        return
    put32(s, av + AV_HAVE_FASTCHUNKS, 0)
    for index in range(NFASTBINS):
        fb = av + AV_FASTBINS + 8 * index
        p = get(s, fb)
        if p == 0:
            continue
        put(s, fb, 0)
        while p and not s.dead and not s.space.stop_signal:
            p = consolidate_one(s, av, p, fb)


def consolidate_one(s: State, av: int, p: int, fb: int) -> int:
    """One chunk of `consolidate`; returns the next of its fast bin."""
    if p & ALIGN_MASK and s.link_mask:
        s.die("malloc_consolidate(): unaligned fastbin chunk detected")
        return 0
    size = chunk_size(s, p)
    if av + AV_FASTBINS + 8 * ((size >> 4) - 2) != fb:
        s.die("malloc_consolidate(): invalid chunk size")
        return 0
    after = (((p + 16) >> 12) & s.link_mask) ^ get(s, p + 16)
    above = p + size
    above_size = chunk_size(s, above)
    if not get(s, p + 8) & PREV_INUSE:
        below = get(s, p)
        size += below
        p -= below
        if chunk_size(s, p) != below:
            s.die("corrupted size vs. prev_size in fastbins")
            return 0
        unlink_chunk(s, av, p)
    if above == get(s, av + s.av_top):
        put(s, p + 8, (size + above_size) | PREV_INUSE)
        put(s, av + s.av_top, p)
        return after
    if get(s, above + above_size + 8) & PREV_INUSE:
        put(s, above + 8, get(s, above + 8) & ~PREV_INUSE)
    else:
        size += above_size
        unlink_chunk(s, av, above)
    unsorted = bin_at(s, av, 1)
    first = get(s, unsorted + 16)
    put(s, unsorted + 16, p)
    put(s, first + 24, p)
    if size >= MIN_LARGE_SIZE:
        put(s, p + 32, 0)
        put(s, p + 40, 0)
    put(s, p + 8, size | PREV_INUSE)
    put(s, p + 24, unsorted)
    put(s, p + 16, first)
    put(s, p + size, size)
    return after
