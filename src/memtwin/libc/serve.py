# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Who serves a call: the thread's cache, the thread's arena, or, when that has no memory, another one.

When a thread gets its cache: up to 2.41 by its first malloc, calloc, realloc or free of a block that is not mapped;
in 2.42 by its first request that the cache could serve; since 2.43 when there is something to put into it. Until 2.41
the cache's limit is a number of bins, since then (`…_by_size`) the size of a chunk.
"""

from __future__ import annotations

import cython

if not cython.compiled:
    from memtwin.libc.aligned import int_memalign
    from memtwin.libc.arena import arena_get, arena_get_retry, arena_of
    from memtwin.libc.bins import chunk_size, misaligned, request_size
    from memtwin.libc.give import free_mapped, free_to_arena, int_free
    from memtwin.libc.state import (
        ALIGN_MASK,
        IS_MMAPPED,
        TCACHE_SMALL_BINS,
        State,
        get,
        get16,
        put,
    )
    from memtwin.libc.take import int_malloc
    from memtwin.libc.tcache import (
        any_tcache_index,
        new_tcache,
        tcache_get,
        tcache_get_aligned,
        tcache_get_large,
        tcache_has_place,
        tcache_holds,
        tcache_index,
        tcache_put,
        tcache_put_large,
    )


def from_arena(s: State, request: int) -> int:
    """A block from the thread's arena, or another when that has none; 0 with errno ENOMEM."""
    if s.single:
        return int_malloc(s, s.main_arena, request)
    av = arena_get(s, request)
    mem = int_malloc(s, av, request)
    if mem == 0 and av and not s.dead:
        mem = int_malloc(s, arena_get_retry(s, av, request), request)
    return mem


def init_tcache(s: State) -> None:
    """Give the thread its cache, a chunk of its arena; without memory it does without one for now.

    Up to 2.41 the arena is the thread's even where there is only one thread (a forked child may have another than
    the main one).
    """
    if s.no_tcache:
        return
    if s.tcache_large_bins:
        mem = from_arena(s, s.tcache_bytes)
    else:
        av = arena_get(s, s.tcache_bytes)
        mem = int_malloc(s, av, s.tcache_bytes)
        if mem == 0 and av and not s.dead:
            mem = int_malloc(s, arena_get_retry(s, av, s.tcache_bytes), s.tcache_bytes)
    if mem:
        new_tcache(s, mem)


# by size: 2.42 and later


def malloc_by_size(s: State, request: int) -> int:
    """malloc(3) since 2.42."""
    nb = request_size(s, request)
    if nb == 0 and not s.late_size_check:
        return s.fail()
    if nb and nb < s.tcache_max_bytes:
        if s.tcache == 0 and not s.tcache_dummy:
            init_tcache(s)
        elif s.tcache:
            mem = cached_by_size(s, nb)
            if mem or s.dead:
                return mem
    return from_arena(s, request)


def cached_by_size(s: State, nb: int) -> int:
    """A cached chunk for `nb`, or 0."""
    index = tcache_index(s, nb)
    if index >= TCACHE_SMALL_BINS:
        return tcache_get_large(s, any_tcache_index(s, nb), nb)
    return tcache_get(s, index) if get(s, s.tcache + s.tcache_entries + s.word * index) else 0


def free_chunk(s: State, p: int) -> None:
    """free(3) of a chunk."""
    if s.tcache_large_bins:
        free_by_size(s, p)
    elif get(s, p + s.word) & IS_MMAPPED:
        free_mapped(s, p)
    else:
        if s.tcache == 0:
            init_tcache(s)
        int_free(s, arena_of(s, p), p)


def free_by_size(s: State, p: int) -> None:
    """free(3) since 2.42. errno stays, but for what making a cache may set."""
    size = chunk_size(s, p)
    if misaligned(s, p):
        s.die("free(): invalid pointer")
        return
    if size < s.tcache_max_bytes:
        if (s.tcache or s.tcache_dummy) and get(s, p + s.header + s.word) == s.tcache_key:
            if s.double_free_retries:
                free_after_search(s, p)
                return
            if s.tcache and tcache_holds(s, p + s.header, any_tcache_index(s, size)):
                return
        if s.tcache:
            if cache_by_size(s, p, size):
                return
        elif s.tcache_dummy and not s.no_tcache:
            s.no_tcache = True
            mem = from_arena(s, s.tcache_bytes) if s.tcache_count else 0
            if mem:
                new_tcache(s, mem)
            free_by_size(s, p)
            return
    if size < s.minsize or p > s.word_mask - (size - s.minsize):
        s.die("free(): invalid size")
        return
    error = s.errno
    free_to_arena(s, arena_of(s, p), p, size)
    s.errno = error


def cache_by_size(s: State, p: int, size: int) -> bool:
    """Put a chunk into the thread's cache, if its bin has a place."""
    if size < s.minsize:
        return False
    index = any_tcache_index(s, size)
    if index < TCACHE_SMALL_BINS:
        if not tcache_has_place(s, index):
            return False
        tcache_put(s, p, index)
        return True
    if not tcache_has_place(s, index):
        return False
    if not s.mapped_like_heap and get(s, p + s.word) & IS_MMAPPED:
        return False
    tcache_put_large(s, p, index)
    return True


def free_after_search(s: State, p: int) -> None:
    """The block looks cached: if it is in no bin (it may be another thread's), forget that and free it again."""
    for index in range(s.tcache_all_bins if s.tcache else 0):
        if tcache_holds(s, p + s.header, index):
            return
    put(s, p + s.header + s.word, 0)
    free_by_size(s, p)


# calloc


def calloc_cached(s: State, request: int, nb: int) -> int:
    """calloc(3) for a chunk of `nb`, since 2.41: from the cache, if it has one, all of it cleared."""
    mem = 0
    if not s.tcache_large_bins:
        index = tcache_index(s, nb)
        if s.tcache and index < s.tcache_bins and get16(s, s.tcache + 2 * index):
            mem = tcache_get(s, index)
    elif nb < s.tcache_max_bytes:
        if s.tcache == 0 and not s.tcache_dummy:
            init_tcache(s)
        elif s.tcache:
            mem = cached_by_size(s, nb)
    if s.dead:
        return 0
    if mem == 0:
        return calloc_from_arena(s, request)
    s.space.clear(mem, 0, chunk_size(s, mem - s.header) - s.word)
    return mem


def calloc_from_arena(s: State, request: int) -> int:
    """A block from an arena; cleared is what may have been used before, and only that.

    What brk gives is known to be zero, also where it was given back and comes again (MORECORE_CLEARS is 2 on Linux:
    sysdeps/unix/sysv/linux/Makefile); in a heap, only what was never made writable.
    """
    av = s.main_arena if s.single else arena_get(s, request)
    top = top_size = 0
    if av:
        top = get(s, av + s.av_top)
        top_size = chunk_size(s, top)
        if av != s.main_arena:
            heap = top & ~(s.heap_max - 1)
            written = heap + get(s, heap + s.heap_mprotect_size) - top
            if top_size < written:
                top_size = written
    mem = int_malloc(s, av, request)
    if mem == 0 and not s.single and av and not s.dead:
        mem = int_malloc(s, arena_get_retry(s, av, request), request)
    if mem:
        clear_new(s, mem, request, top, top_size)
    return mem


def clear_new(s: State, mem: int, request: int, top: int, top_size: int) -> None:
    """The bytes of a calloc become zero; those of a mapping, or beyond what the top ever was, are zero already."""
    p = mem - s.header
    if get(s, p + s.word) & IS_MMAPPED:
        if s.perturb:
            s.space.clear(mem, 0, request)
        return
    size = chunk_size(s, p)
    if s.perturb == 0 and p == top and size > top_size:
        size = top_size
    s.space.clear(mem, 0, size - s.word)


# the memalign family


def aligned_block(s: State, alignment: int, request: int) -> int:
    """A block at a multiple of `alignment`, a power of two from 32, from the thread's cache, its arena or another."""
    if s.memalign_from_tcache:
        nb = request_size(s, request)
        if nb == 0 and not s.late_size_check:
            return s.fail()
        mem = aligned_cached(s, alignment, nb) if nb else 0
        if mem or s.dead:
            return mem
    if s.single:
        return int_memalign(s, s.main_arena, alignment, request)
    av = arena_get(s, (request + alignment + s.minsize) & s.word_mask)
    mem = int_memalign(s, av, alignment, request)
    if mem == 0 and av and not s.dead:
        mem = int_memalign(s, arena_get_retry(s, av, request), alignment, request)
    return mem


def aligned_cached(s: State, alignment: int, nb: int) -> int:
    """An aligned chunk of `nb` out of the thread's cache, or 0."""
    index = any_tcache_index(s, nb)
    if not s.tcache_large_bins:
        if s.tcache == 0 or index >= s.tcache_bins:
            return 0
    elif nb >= s.tcache_max_bytes:
        return 0
    elif s.tcache == 0:
        if not s.tcache_dummy:
            init_tcache(s)
        return 0
    return tcache_get_aligned(s, index, nb, alignment)


# the end of a thread


def flush_tcache(s: State) -> None:
    """The thread ends: its cache, and what is in it, goes back to the arenas (tcache_thread_shutdown)."""
    cache = s.tcache
    s.no_tcache = True
    s.set_tcache(0)
    if cache == 0:
        return
    for index in range(s.tcache_all_bins):
        entry = cache + s.tcache_entries + s.word * index
        e = get(s, entry)
        while e and not s.dead and not s.space.stop_signal:
            if e & ALIGN_MASK and s.link_mask:
                s.die("tcache_thread_shutdown(): unaligned tcache chunk detected")
                return
            put(s, entry, ((e >> 12) & s.link_mask) ^ get(s, e))
            if s.shutdown_to_arena:
                put(s, e + s.word, 0)
            flush_one(s, e - s.header)
            e = get(s, entry)
    flush_one(s, cache - s.header)


def flush_one(s: State, p: int) -> None:
    """Free a chunk of a thread that has no cache any more."""
    if s.shutdown_to_arena:
        free_to_arena(s, arena_of(s, p), p, chunk_size(s, p))
    else:
        free_chunk(s, p)
