# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""A block that begins at an alignment (_int_memalign): a larger chunk whose two ends are given back."""

from __future__ import annotations

import cython

if not cython.compiled:
    from memtwin.libc.bins import bin_at, bin_index, chunk_size, mark_in_use, request_size, set_bit, unlink_chunk
    from memtwin.libc.give import create_free_chunk, free_and_merge, int_free, trim_after_free
    from memtwin.libc.state import (
        ALIGN_MASK,
        IS_MMAPPED,
        NON_MAIN_ARENA,
        PREV_INUSE,
        State,
        get,
        put,
    )
    from memtwin.libc.take import int_malloc, set_head_size


def int_memalign(s: State, av: int, alignment: int, request: int) -> int:
    """A block at a multiple of `alignment` (a power of two from MINSIZE); its user pointer, 0 without memory."""
    nb = request_size(s, request)
    if nb == 0 or (s.checks_alignment and alignment > s.ptrdiff_max):
        return s.fail()
    p = scan_bins(s, av, alignment, nb) if s.memalign_scans_bins and av else 0
    if p == 0 and not s.dead:
        mem = int_malloc(s, av, (nb + alignment + s.minsize) & s.word_mask)
        p = mem - s.header if mem else 0
    if p == 0 or s.dead:
        return 0
    if get(s, p + s.word) & IS_MMAPPED:
        return align_mapped(s, p, alignment)
    if (p + s.header) & (alignment - 1):
        p = cut_lead(s, av, p, alignment)
    cut_tail(s, av, p, nb)
    return p + s.header


def align_mapped(s: State, p: int, alignment: int) -> int:
    """The chunk begins later in its mapping, at the alignment; its user pointer.

    Until 2.43 it moves by MINSIZE at least, as if there were a chunk to be cut off.
    """
    new = ((p + s.header + alignment - 1) & ~(alignment - 1)) - s.header
    if new == p:
        return p + s.header
    if new - p < s.minsize and not s.memalign_in_mapping:
        new += alignment
    lead = new - p
    put(s, new, get(s, p) + lead)
    put(s, new + s.word, (chunk_size(s, p) - lead) | IS_MMAPPED)
    return new + s.header


def cut_lead(s: State, av: int, p: int, alignment: int) -> int:
    """Give back what lies before the first aligned place that leaves a chunk there; the chunk that begins at it."""
    foreign = 0 if av == s.main_arena else NON_MAIN_ARENA
    new = ((p + s.header + alignment - 1) & ~(alignment - 1)) - s.header
    if new - p < s.minsize:
        new += alignment
    lead = new - p
    size = chunk_size(s, p) - lead
    put(s, new + s.word, size | PREV_INUSE | foreign)
    set_bit(s, new + size + s.word, PREV_INUSE)
    set_head_size(s, p, lead | foreign)
    if s.memalign_merges:
        free_and_merge(s, av, p, lead)
    else:
        int_free(s, av, p)
    return new


def cut_tail(s: State, av: int, p: int, nb: int) -> None:
    """Give back what is more than `nb`, if it makes a chunk, or (2.39 to 2.42) a free neighbour takes it."""
    size = chunk_size(s, p)
    rest_size = size - nb
    above = p + size
    if not s.memalign_merges:
        if size > nb + s.minsize:
            foreign = 0 if av == s.main_arena else NON_MAIN_ARENA
            put(s, p + nb + s.word, rest_size | PREV_INUSE | foreign)
            set_head_size(s, p, nb)
            int_free(s, av, p + nb)
        return
    above_size = chunk_size(s, above)
    if rest_size < s.minsize:
        if rest_size == 0 or s.memalign_in_mapping:
            return
        if above != get(s, av + s.av_top) and get(s, above + above_size + s.word) & PREV_INUSE:
            return
    set_head_size(s, p, nb)
    rest_size = create_free_chunk(s, av, p + nb, rest_size, above, above_size)
    if rest_size:
        trim_after_free(s, av, rest_size)


# 2.38 only: free chunks that have an aligned part


def aligned_waste(s: State, p: int, alignment: int, nb: int) -> int:
    """How much of a free chunk is left when an aligned `nb` is cut out of it; 1 for nothing, 0 if it cannot be."""
    mem = p + s.header
    size = chunk_size(s, p)
    if mem & ALIGN_MASK:
        s.die("_int_memalign(): unaligned chunk detected")
        return 0
    front = ((mem + alignment - 1) & ~(alignment - 1)) - mem
    if 0 < front < s.minsize:
        return 0
    if size == nb and front == 0:
        return 1
    return size - nb if size > nb + front else 0


def scan_bins(s: State, av: int, alignment: int, nb: int) -> int:
    """A chunk with an aligned part from the bins of `nb` to twice that, off its list and in use; 0 if there is none."""
    for index in range(bin_index(s, nb), bin_index(s, 2 * nb)):
        bin = bin_at(s, av, index)
        if index < 64:
            p = scan_small(s, bin, alignment, nb)
        else:
            p = scan_large(s, bin, alignment, nb)
            if p:
                unlink_chunk(s, av, p)
        if p and not s.dead:
            mark_in_use(s, av, p, chunk_size(s, p))
            return p
    return 0


def scan_small(s: State, bin: int, alignment: int, nb: int) -> int:
    """The newest chunk of a small bin that will do, off its list."""
    p = get(s, bin + s.header)
    while p != bin and not s.dead and not s.space.stop_signal:
        if aligned_waste(s, p, alignment, nb):
            forward = get(s, p + s.header)
            back = get(s, p + s.bk)
            put(s, forward + s.bk, back)
            put(s, back + s.header, forward)
            return p
        p = get(s, p + s.header)
    return 0


def scan_large(s: State, bin: int, alignment: int, nb: int) -> int:
    """The chunk of a large bin that wastes least, the last of several."""
    best = best_waste = 0
    p = get(s, bin + s.header)
    while p != bin and not s.dead and not s.space.stop_signal:
        if chunk_size(s, p) < nb:
            break
        waste = aligned_waste(s, p, alignment, nb)
        if waste and (best == 0 or waste <= best_waste):
            best = p
            best_waste = waste
        p = get(s, p + s.header)
    return best
