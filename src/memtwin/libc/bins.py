# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Bins: the doubly linked lists of free chunks, and the fast bins that malloc_consolidate empties into them.

bin 1         unsorted: freed chunks and remainders, before they are sorted
bins 2…63     small: one size each, 32, 48, … 1008 (of words of four bytes 16, 32, … 992), first in first out
bins 64…126   large: ranges of sizes, each sorted from large to small; the first chunk of each size is also on a
              ring of sizes (fd_nextsize down, bk_nextsize up)
fast bins     32 … 128 bytes: single links, last in first out, chunks that keep their in-use bit
"""

from __future__ import annotations

import cython

if not cython.compiled:
    from memtwin.libc.state import (
        ALIGN_MASK,
        AV_FLAGS,
        AV_HAVE_FASTCHUNKS,
        NBINS,
        NON_MAIN_ARENA,
        NONCONTIGUOUS,
        PREV_INUSE,
        SIZE_BITS,
        State,
        get,
        get32,
        put,
        put32,
    )

    def chunk_size(s: State, p: int) -> int:
        """A chunk's size without its flag bits."""
        return get(s, p + s.word) & ~SIZE_BITS

    def bin_at(s: State, av: int, index: int) -> int:
        """The bin, addressed as a chunk."""
        return av + s.bins_base + s.header * index

    def have_fastchunks(s: State, av: int) -> bool:
        """Whether the arena's fast bins may have chunks."""
        return not s.no_fastbins and get32(s, av + AV_HAVE_FASTCHUNKS) != 0

    def contiguous(s: State, av: int) -> bool:
        """Whether the arena's memory is one piece, grown by the break."""
        return not get32(s, av + AV_FLAGS) & NONCONTIGUOUS

    def set_bit(s: State, at: int, bit: int) -> None:
        """Set flag bits in the word at `at`."""
        put(s, at, get(s, at) | bit)

    def request_size(s: State, request: int) -> int:
        """The chunk size for a request, header and alignment included; 0 when it is over PTRDIFF_MAX."""
        if request > s.ptrdiff_max:
            return 0
        if request + s.word + ALIGN_MASK < s.minsize:
            return s.minsize
        return (request + s.word + ALIGN_MASK) & ~ALIGN_MASK

    def misaligned(s: State, p: int) -> bool:
        """Whether the memory of a chunk would not be aligned (misaligned_chunk): no chunk begins there."""
        return (p + s.header) & ALIGN_MASK != 0

    def small_index(s: State, size: int) -> int:
        """The small bin for chunks of `size` bytes (smallbin_index)."""
        return (size >> 4) + s.small_correction

    def fast_bin(s: State, av: int, size: int) -> int:
        """Where an arena has the head of the fast bin for chunks of `size` bytes."""
        return av + s.av_fastbins + s.word * ((size >> s.fast_shift) - 2)


def large_index(s: State, size: int) -> int:
    """The large bin for a size (largebin_index_64; of words of four bytes largebin_index_32_big)."""
    if size >> 6 <= 48 - 3 * s.small_correction:
        return 48 + s.small_correction + (size >> 6)
    if size >> 9 <= 20:
        return 91 + (size >> 9)
    if size >> 12 <= 10:
        return 110 + (size >> 12)
    if size >> 15 <= 4:
        return 119 + (size >> 15)
    if size >> 18 <= 2:
        return 124 + (size >> 18)
    return 126


def bin_index(s: State, size: int) -> int:
    """The bin for a free chunk of `size`."""
    return small_index(s, size) if size < s.min_large else large_index(s, size)


def init_arena(s: State, av: int) -> None:
    """malloc_init_state: all bins empty, no top yet (the unsorted bin stands in for it)."""
    for index in range(1, NBINS):
        bin = bin_at(s, av, index)
        put(s, bin + s.header, bin)
        put(s, bin + s.bk, bin)
    if av != s.main_arena:
        put32(s, av + AV_FLAGS, get32(s, av + AV_FLAGS) | NONCONTIGUOUS)
    if not s.no_fastbins:
        put32(s, av + AV_HAVE_FASTCHUNKS, 0)
    put(s, av + s.av_top, bin_at(s, av, 1))


def mark_in_use(s: State, av: int, p: int, size: int) -> None:
    """The chunk above learns that `p` is in use; `p` learns whose it is."""
    set_bit(s, p + size + s.word, PREV_INUSE)
    if av != s.main_arena:
        set_bit(s, p + s.word, NON_MAIN_ARENA)


def unlink_chunk(s: State, av: int, p: int) -> None:
    """Take a free chunk off its list, whichever it is."""
    fd, bk = s.header, s.bk
    size = chunk_size(s, p)
    if size != get(s, p + size):
        s.die("corrupted size vs. prev_size")
        return
    forward = get(s, p + fd)
    back = get(s, p + bk)
    if get(s, forward + bk) != p or get(s, back + fd) != p:
        s.die("corrupted double-linked list")
        return
    put(s, forward + bk, back)
    put(s, back + fd, forward)
    if get(s, p + s.word) < s.min_large:
        return
    smaller = get(s, p + s.fd_nextsize)
    if smaller == 0:
        return
    larger = get(s, p + s.bk_nextsize)
    if get(s, smaller + s.bk_nextsize) != p or get(s, larger + s.fd_nextsize) != p:
        s.die("corrupted double-linked list (not small)")
    elif get(s, forward + s.fd_nextsize):
        put(s, smaller + s.bk_nextsize, larger)
        put(s, larger + s.fd_nextsize, smaller)
    elif smaller == p:
        put(s, forward + s.fd_nextsize, forward)
        put(s, forward + s.bk_nextsize, forward)
    else:
        put(s, forward + s.fd_nextsize, smaller)
        put(s, forward + s.bk_nextsize, larger)
        put(s, smaller + s.bk_nextsize, forward)
        put(s, larger + s.fd_nextsize, forward)


def put_unsorted(s: State, av: int, p: int, size: int, message: str) -> bool:
    """The free chunk becomes the first of the unsorted bin. Aborts with `message` when the bin is broken."""
    fd, bk = s.header, s.bk
    unsorted = bin_at(s, av, 1)
    first = get(s, unsorted + fd)
    if get(s, first + bk) != unsorted:
        s.die(message)
        return False
    put(s, p + bk, unsorted)
    put(s, p + fd, first)
    if size >= s.min_large:
        put(s, p + s.fd_nextsize, 0)
        put(s, p + s.bk_nextsize, 0)
    put(s, unsorted + fd, p)
    put(s, first + bk, p)
    return True


def put_small(s: State, av: int, p: int, size: int) -> bool:
    """The free chunk becomes the first of its small bin, since 2.41. Aborts when the bin is broken."""
    fd, bk = s.header, s.bk
    index = small_index(s, size)
    bin = bin_at(s, av, index)
    first = get(s, bin + fd)
    if get(s, first + bk) != bin:
        s.die("free(): chunks in smallbin corrupted")
        return False
    mark_bin(s, av, index)
    link_between(s, p, bin, first)
    return True


def link_between(s: State, p: int, back: int, forward: int) -> None:
    """The chunk takes its place in a list."""
    fd, bk = s.header, s.bk
    put(s, p + bk, back)
    put(s, p + fd, forward)
    put(s, forward + bk, p)
    put(s, back + fd, p)


def mark_bin(s: State, av: int, index: int) -> None:
    """Note in the bit map that the bin may have chunks."""
    at = av + s.av_binmap + 4 * (index >> 5)
    put32(s, at, get32(s, at) | (1 << (index & 31)))


def put_large(s: State, av: int, p: int, size: int) -> None:
    """Sort a free chunk into its bin, small or large."""
    fd, bk = s.header, s.bk
    index = bin_index(s, size)
    bin = bin_at(s, av, index)
    back = bin
    forward = get(s, bin + fd)
    if size >= s.min_large:
        if forward == bin:
            put(s, p + s.fd_nextsize, p)
            put(s, p + s.bk_nextsize, p)
        else:
            last = get(s, bin + bk)
            if (size | PREV_INUSE) < get(s, last + s.word):
                back = last
                largest = forward
                forward = bin
                put(s, p + s.fd_nextsize, largest)
                smallest = get(s, largest + s.bk_nextsize)
                if s.checks_nextsize and get(s, smallest + s.fd_nextsize) != largest:
                    s.die("malloc(): largebin double linked list corrupted (nextsize)")
                    return
                put(s, p + s.bk_nextsize, smallest)
                put(s, smallest + s.fd_nextsize, p)
                put(s, largest + s.bk_nextsize, p)
            else:
                forward = place_by_size(s, p, size | PREV_INUSE, forward)
                back = get(s, forward + bk)
                if s.dead:
                    return
                if get(s, back + fd) != forward:
                    s.die("malloc(): largebin double linked list corrupted (bk)")
                    return
    mark_bin(s, av, index)
    link_between(s, p, back, forward)


def place_by_size(s: State, p: int, head: int, forward: int) -> int:
    """Walk the ring of sizes down from the largest; returns the chunk that `p` goes in front of.

    A size that is there already keeps its place on the ring: `p` becomes the second of that size.
    """
    fd = s.header
    while head < get(s, forward + s.word) and not s.space.stop_signal:
        forward = get(s, forward + s.fd_nextsize)
    if head == get(s, forward + s.word):
        return get(s, forward + fd)
    larger = get(s, forward + s.bk_nextsize)
    put(s, p + s.fd_nextsize, forward)
    put(s, p + s.bk_nextsize, larger)
    if get(s, larger + s.fd_nextsize) != forward:
        s.die("malloc(): largebin double linked list corrupted (nextsize)")
        return forward
    put(s, forward + s.bk_nextsize, p)
    put(s, larger + s.fd_nextsize, p)
    return forward


def consolidate(s: State, av: int) -> None:
    """malloc_consolidate: every chunk of the fast bins joins its free neighbours, in the unsorted bin or the top."""
    if s.no_fastbins:
        return
    put32(s, av + AV_HAVE_FASTCHUNKS, 0)
    for index in range(s.nfastbins):
        fb = av + s.av_fastbins + s.word * index
        p = get(s, fb)
        if p == 0:
            continue
        put(s, fb, 0)
        while p and not s.dead and not s.space.stop_signal:
            p = consolidate_one(s, av, p, fb)


def consolidate_one(s: State, av: int, p: int, fb: int) -> int:
    """One chunk of `consolidate`; returns the next of its fast bin."""
    fd, bk = s.header, s.bk
    if misaligned(s, p) and s.link_mask:
        s.die("malloc_consolidate(): unaligned fastbin chunk detected")
        return 0
    size = chunk_size(s, p)
    if fast_bin(s, av, size) != fb:
        s.die("malloc_consolidate(): invalid chunk size")
        return 0
    after = (((p + s.header) >> 12) & s.link_mask) ^ get(s, p + fd)
    above = p + size
    above_size = chunk_size(s, above)
    if not get(s, p + s.word) & PREV_INUSE:
        below = get(s, p)
        size += below
        p -= below
        if chunk_size(s, p) != below:
            s.die("corrupted size vs. prev_size in fastbins")
            return 0
        unlink_chunk(s, av, p)
    if above == get(s, av + s.av_top):
        put(s, p + s.word, (size + above_size) | PREV_INUSE)
        put(s, av + s.av_top, p)
        return after
    if get(s, above + above_size + s.word) & PREV_INUSE:
        put(s, above + s.word, get(s, above + s.word) & ~PREV_INUSE)
    else:
        size += above_size
        unlink_chunk(s, av, above)
    unsorted = bin_at(s, av, 1)
    first = get(s, unsorted + fd)
    put(s, unsorted + fd, p)
    put(s, first + bk, p)
    if size >= s.min_large:
        put(s, p + s.fd_nextsize, 0)
        put(s, p + s.bk_nextsize, 0)
    put(s, p + s.word, size | PREV_INUSE)
    put(s, p + bk, unsorted)
    put(s, p + fd, first)
    put(s, p + size, size)
    return after
