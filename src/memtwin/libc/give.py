# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Giving back: a chunk to its cache or bin, the top to the kernel, a mapped chunk to the kernel."""

from __future__ import annotations

import cython

if not cython.compiled:
    from memtwin.libc.bins import chunk_size, consolidate, contiguous, put_unsorted, unlink_chunk
    from memtwin.libc.heap import heap_trim
    from memtwin.libc.state import (
        ALIGN_MASK,
        AV_FASTBINS,
        AV_HAVE_FASTCHUNKS,
        AV_SYSTEM_MEM,
        AV_TOP,
        FASTBIN_CONSOLIDATION_THRESHOLD,
        HEADER,
        IS_MMAPPED,
        MINSIZE,
        PREV_INUSE,
        WORD,
        State,
        get,
        get32,
        put,
        put32,
    )
    from memtwin.libc.tcache import tcache_has_room, tcache_holds, tcache_index, tcache_put


def systrim(s: State, av: int, pad: int) -> bool:
    """Move the break down to `pad` bytes above what is in use, in whole pages; True when it moved."""
    top = get(s, av + AV_TOP)
    top_size = chunk_size(s, top)
    if top_size <= MINSIZE + 1 or top_size - MINSIZE - 1 <= pad:
        return False
    unit = s.thp_pagesize if s.thp_pagesize else s.page_size
    extra = (top_size - MINSIZE - 1 - pad) & ~(unit - 1)
    if extra == 0:
        return False
    now = 0 if s.morecore_fails else s.sbrk(0)
    if now != top + top_size:
        return False
    s.sbrk(-cython.cast(cython.longlong, extra))
    released = now - s.sbrk(0)
    if released == 0:
        return False
    put(s, av + AV_SYSTEM_MEM, get(s, av + AV_SYSTEM_MEM) - released)
    put(s, top + 8, (top_size - released) | PREV_INUSE)
    return True


def munmap_chunk(s: State, p: int) -> None:
    """Unmap a chunk that has a mapping of its own; prev_size says where in the mapping it begins."""
    offset = get(s, p)
    size = (chunk_size(s, p) + offset) & WORD
    block = (p - offset) & WORD
    within = (p + HEADER) & (s.page_size - 1)
    if (block | size) & (s.page_size - 1) or within & (within - 1):
        s.die("munmap_chunk(): invalid pointer")
        return
    s.count_mmap(-1, -cython.cast(cython.longlong, size))
    s.space.sys_munmap(block, size)


def int_free(s: State, av: int, p: int) -> None:
    """Free a chunk of an arena: to the thread's cache, to a fast bin, or merged with its free neighbours."""
    size = chunk_size(s, p)
    if p > ((-size) & WORD) or p & ALIGN_MASK:
        s.die("free(): invalid pointer")
        return
    if size < MINSIZE or size & ALIGN_MASK:
        s.die("free(): invalid size")
        return
    index = tcache_index(size)
    if s.tcache and index < s.tcache_bins:
        if get(s, p + HEADER + 8) == s.tcache_key and tcache_holds(s, p + HEADER, index):
            return
        if tcache_has_room(s, index):
            tcache_put(s, p, index)
            return
    if size <= s.max_fast:
        free_to_fastbin(s, av, p, size)
    elif get(s, p + 8) & IS_MMAPPED:
        munmap_chunk(s, p)
    else:
        free_and_merge(s, av, p, size)


def free_to_fastbin(s: State, av: int, p: int, size: int) -> None:
    """Put a small chunk, still marked in use, at the head of its fast bin."""
    above = get(s, p + size + 8)
    if above <= HEADER or chunk_size(s, p + size) >= get(s, av + AV_SYSTEM_MEM):
        s.die("free(): invalid next size (fast)")
        return
    perturb_free(s, p, size)
    put32(s, av + AV_HAVE_FASTCHUNKS, 1)
    fb = av + AV_FASTBINS + 8 * ((size >> 4) - 2)
    old = get(s, fb)
    if old == p:
        s.die("double free or corruption (fasttop)")
        return
    put(s, p + 16, (((p + 16) >> 12) & s.link_mask) ^ old)
    put(s, fb, p)


def perturb_free(s: State, p: int, size: int) -> None:
    """M_PERTURB: freed bytes become its value."""
    if s.perturb:
        s.space.clear(p + HEADER, s.perturb, size - HEADER)


def freeable(s: State, av: int, p: int, above: int) -> bool:
    """The checks before a chunk is merged: not the top, inside the arena, marked in use, a sane neighbour above."""
    top = get(s, av + AV_TOP)
    if p == top:
        s.die("double free or corruption (top)")
    elif contiguous(s, av) and above >= top + chunk_size(s, top):
        s.die("double free or corruption (out)")
    elif not get(s, above + 8) & PREV_INUSE:
        s.die("double free or corruption (!prev)")
    elif get(s, above + 8) <= HEADER or chunk_size(s, above) >= get(s, av + AV_SYSTEM_MEM):
        s.die("free(): invalid next size (normal)")
    return not s.dead


def free_and_merge(s: State, av: int, p: int, size: int) -> None:
    """Merge a chunk with what is free below and above it; the result goes to the unsorted bin, or becomes the top."""
    above = p + size
    if not freeable(s, av, p, above):
        return
    above_size = chunk_size(s, above)
    perturb_free(s, p, size)
    if not get(s, p + 8) & PREV_INUSE:
        below = get(s, p)
        size += below
        p -= below
        if chunk_size(s, p) != below:
            s.die("corrupted size vs. prev_size while consolidating")
            return
        unlink_chunk(s, av, p)
        if s.dead:
            return
    if above == get(s, av + AV_TOP):
        size += above_size
        put(s, p + 8, size | PREV_INUSE)
        put(s, av + AV_TOP, p)
    else:
        if get(s, above + above_size + 8) & PREV_INUSE:
            put(s, above + 8, get(s, above + 8) & ~PREV_INUSE)
        else:
            unlink_chunk(s, av, above)
            size += above_size
        if s.dead or not put_unsorted(s, av, p, size, "free(): corrupted unsorted chunks"):
            return
        put(s, p + 8, size | PREV_INUSE)
        put(s, p + size, size)
    if size >= FASTBIN_CONSOLIDATION_THRESHOLD:
        trim_after_free(s, av)


def trim_after_free(s: State, av: int) -> None:
    """A large space is free: empty the fast bins, and give the top back if it has grown past the threshold."""
    if get32(s, av + AV_HAVE_FASTCHUNKS):
        consolidate(s, av)
    top = get(s, av + AV_TOP)
    if av != s.main_arena:
        heap_trim(s, top & ~(s.heap_max - 1), s.top_pad)
    elif chunk_size(s, top) >= s.trim_threshold:
        systrim(s, av, s.top_pad)
