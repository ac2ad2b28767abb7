# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Giving back: a chunk to its cache or bin, the top to the kernel, a mapped chunk to the kernel."""

from __future__ import annotations

import cython

if not cython.compiled:
    from memtwin.libc.bins import (
        chunk_size,
        consolidate,
        contiguous,
        fast_bin,
        have_fastchunks,
        misaligned,
        put_small,
        put_unsorted,
        unlink_chunk,
    )
    from memtwin.libc.heap import heap_trim
    from memtwin.libc.state import (
        ALIGN_MASK,
        AV_HAVE_FASTCHUNKS,
        FASTBIN_CONSOLIDATION_THRESHOLD,
        IS_MMAPPED,
        PREV_INUSE,
        State,
        get,
        put,
        put32,
    )
    from memtwin.libc.tcache import tcache_has_room, tcache_holds, tcache_index, tcache_put


def systrim(s: State, av: int, pad: int) -> bool:
    """Move the break down to `pad` bytes above what is in use, in whole pages; True when it moved.

    A top of MINSIZE has an area of -1 bytes, which the comparison takes for the largest there is: the break then moves
    up. So it does in glibc, in every release (systrim's `top_area <= pad`, a long against a size_t).
    """
    top = get(s, av + s.av_top)
    top_size = chunk_size(s, top)
    area = (top_size - s.minsize - 1) & s.word_mask
    if area <= pad:
        return False
    unit = s.thp_pagesize if s.thp_pagesize else s.page_size
    extra = (area - pad) & ~(unit - 1) & s.word_mask
    if extra == 0:
        return False
    now = 0 if s.morecore_fails else s.sbrk(0)
    if now != top + top_size:
        return False
    if area > s.ptrdiff_max:
        s.sbrk(((area ^ s.word_mask) + pad + unit) & ~(unit - 1))
    else:
        s.sbrk(-cython.cast(cython.longlong, extra))
    released = (now - s.sbrk(0)) & s.word_mask
    if released == 0:
        return False
    put(s, av + s.av_system_mem, (get(s, av + s.av_system_mem) - released) & s.word_mask)
    put(s, top + s.word, ((top_size - released) & s.word_mask) | PREV_INUSE)
    return True


def munmap_chunk(s: State, p: int) -> None:
    """Unmap a chunk that has a mapping of its own; prev_size says where in the mapping it begins."""
    offset = get(s, p)
    if s.marks_huge_mappings:
        offset &= s.word_mask - 1
    size = (chunk_size(s, p) + offset + (s.header if s.mapped_like_heap else 0)) & s.word_mask
    block = (p - offset) & s.word_mask
    within = (p + s.header) & (s.page_size - 1)
    if (block | size) & (s.page_size - 1) or within & (within - 1):
        s.die("munmap_chunk(): invalid pointer")
        return
    s.count_mmap(-1, -cython.cast(cython.longlong, size))
    s.told(s.space.sys_munmap(block, size))


def free_mapped(s: State, p: int) -> None:
    """Free a chunk with a mapping of its own: the mmap threshold rises to its size, trimming to twice that."""
    head = get(s, p + s.word)
    if not s.no_dyn_threshold and s.mmap_threshold < head <= s.mmap_threshold_max:
        s.mmap_threshold = chunk_size(s, p)
        s.trim_threshold = 2 * s.mmap_threshold
    munmap_chunk(s, p)


def int_free(s: State, av: int, p: int) -> None:
    """Free a chunk of an arena: to the thread's cache, to a fast bin, or merged with its free neighbours."""
    size = chunk_size(s, p)
    if p > ((-size) & s.word_mask) or misaligned(s, p):
        s.die("free(): invalid pointer")
        return
    if size < s.minsize or size & ALIGN_MASK:
        s.die("free(): invalid size")
        return
    index = tcache_index(s, size)
    if s.tcache and index < s.tcache_bins:
        if get(s, p + s.header + s.word) == s.tcache_key and tcache_holds(s, p + s.header, index):
            return
        if tcache_has_room(s, index):
            tcache_put(s, p, index)
            return
    free_to_arena(s, av, p, size)


def free_to_arena(s: State, av: int, p: int, size: int) -> None:
    """Free a chunk past the thread's cache (_int_free_chunk)."""
    if size <= s.max_fast:
        free_to_fastbin(s, av, p, size)
    elif get(s, p + s.word) & IS_MMAPPED:
        free_mapped(s, p)
    else:
        free_and_merge(s, av, p, size)


def free_rest(s: State, av: int, p: int) -> None:
    """Free what realloc left over, or a top that has been replaced, while the arena is locked."""
    s.holds_lock = True
    if s.remainders_bypass_tcache:
        free_to_arena(s, av, p, chunk_size(s, p))
    else:
        int_free(s, av, p)
    s.holds_lock = False


def free_to_fastbin(s: State, av: int, p: int, size: int) -> None:
    """Put a small chunk, still marked in use, at the head of its fast bin."""
    above = get(s, p + size + s.word)
    if above <= s.header or chunk_size(s, p + size) >= get(s, av + s.av_system_mem):
        s.die("free(): invalid next size (fast)")
        return
    perturb_free(s, p, size)
    put32(s, av + AV_HAVE_FASTCHUNKS, 1)
    fb = fast_bin(s, av, size)
    old = get(s, fb)
    if old == p:
        s.die("double free or corruption (fasttop)")
        return
    put(s, p + s.header, (((p + s.header) >> 12) & s.link_mask) ^ old)
    put(s, fb, p)
    if s.holds_lock and old and fast_bin(s, av, chunk_size(s, old)) != fb:
        s.die("invalid fastbin entry (free)")


def perturb_free(s: State, p: int, size: int) -> None:
    """M_PERTURB: freed bytes become its value."""
    if s.perturb:
        s.space.clear(p + s.header, s.perturb & 255, size - s.header)


def freeable(s: State, av: int, p: int, above: int) -> bool:
    """The checks before a chunk is merged: not the top, inside the arena, marked in use, a sane neighbour above."""
    top = get(s, av + s.av_top)
    if p == top:
        s.die("double free or corruption (top)")
    elif contiguous(s, av) and above >= top + chunk_size(s, top):
        s.die("double free or corruption (out)")
    elif not get(s, above + s.word) & PREV_INUSE:
        s.die("double free or corruption (!prev)")
    elif get(s, above + s.word) <= s.header or chunk_size(s, above) >= get(s, av + s.av_system_mem):
        s.die("free(): invalid next size (normal)")
    return not s.dead


def free_and_merge(s: State, av: int, p: int, size: int) -> None:
    """Merge a chunk with what is free below and above it; the result goes to the unsorted bin, or becomes the top."""
    above = p + size
    if not freeable(s, av, p, above):
        return
    above_size = chunk_size(s, above)
    perturb_free(s, p, size)
    if not get(s, p + s.word) & PREV_INUSE:
        below = get(s, p)
        size += below
        p -= below
        if chunk_size(s, p) != below:
            s.die("corrupted size vs. prev_size while consolidating")
            return
        unlink_chunk(s, av, p)
        if s.dead:
            return
    size = create_free_chunk(s, av, p, size, above, above_size)
    if size:
        trim_after_free(s, av, size)


def create_free_chunk(s: State, av: int, p: int, size: int, above: int, above_size: int) -> int:
    """A free chunk at `p`, whatever is there, joined with the one above if that is free: into a bin, or the new top.

    Returns its size; 0 when a check failed.
    """
    if above == get(s, av + s.av_top):
        size += above_size
        put(s, p + s.word, size | PREV_INUSE)
        put(s, av + s.av_top, p)
        return size
    if get(s, above + above_size + s.word) & PREV_INUSE:
        put(s, above + s.word, get(s, above + s.word) & ~PREV_INUSE)
    else:
        unlink_chunk(s, av, above)
        size += above_size
    if s.dead:
        return 0
    if s.frees_to_smallbin and size < s.min_large:
        if not put_small(s, av, p, size):
            return 0
    elif not put_unsorted(s, av, p, size, "free(): corrupted unsorted chunks"):
        return 0
    put(s, p + s.word, size | PREV_INUSE)
    put(s, p + size, size)
    return size


def trim_after_free(s: State, av: int, size: int) -> None:
    """After a large space became free: empty the fast bins, give the top back if it has grown past the threshold."""
    if size < FASTBIN_CONSOLIDATION_THRESHOLD:
        return
    if have_fastchunks(s, av):
        consolidate(s, av)
    top = get(s, av + s.av_top)
    if av != s.main_arena:
        heap_trim(s, top & ~(s.heap_max - 1), s.top_pad)
    elif chunk_size(s, top) >= s.trim_threshold:
        systrim(s, av, s.top_pad)
