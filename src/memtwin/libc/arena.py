# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Arenas: which one serves a thread, and what becomes of it when the thread ends.

A thread's first call takes an arena from the free list, or makes one, or, at the limit, shares one in turn. The limit
is arena_max, or eight for each processor as soon as there are more than arena_test. No lock is modelled: recorded
threads call one after the other, so that an arena is never found locked.
"""

from __future__ import annotations

import cython

if not cython.compiled:
    from memtwin.libc.bins import init_arena
    from memtwin.libc.heap import new_heap
    from memtwin.libc.state import (
        ALIGN_MASK,
        ALIGNMENT,
        NON_MAIN_ARENA,
        PREV_INUSE,
        State,
        get,
        put,
    )


def arena_of(s: State, p: int) -> int:
    """The arena of a chunk that is not mapped (arena_for_chunk)."""
    if get(s, p + s.word) & NON_MAIN_ARENA:
        return get(s, p & ~(s.heap_max - 1))
    return s.main_arena


def arena_get(s: State, size: int) -> int:
    """The thread's arena, got for it if it has none; 0 when there is none to be had."""
    return s.thread_arena if s.thread_arena else arena_get2(s, size)


def arena_get2(s: State, size: int) -> int:
    """An arena for the thread: a free one, a new one with room for `size`, or, at the limit, one that is shared."""
    av = take_free_arena(s)
    if av:
        return av
    if s.narenas_limit == 0:
        if s.arena_max:
            s.narenas_limit = s.arena_max
        elif s.narenas > s.arena_test:
            s.narenas_limit = s.arenas_per_cpu * s.cpus
    if s.narenas <= ((s.narenas_limit - 1) & s.word_mask):
        s.narenas += 1
        av = new_arena(s, size)
        if av == 0:
            s.narenas -= 1
        return av
    return reused_arena(s)


def arena_get_retry(s: State, av: int, size: int) -> int:
    """Another arena after a failure: the main one, or, when that failed, any other."""
    return arena_get2(s, size) if av == s.main_arena else s.main_arena


def detach_arena(s: State, av: int) -> None:
    """One thread less uses the arena; it is not put on the free list by this."""
    if av:
        put(s, av + s.av_attached, get(s, av + s.av_attached) - 1)


def new_arena(s: State, size: int) -> int:
    """A new arena at the start of a heap of its own, with room for `size` if that fits; 0 when there is no heap."""
    least = s.heap_info + s.av_size + ALIGNMENT
    heap = new_heap(s, size + least, s.top_pad)
    if heap == 0:
        heap = new_heap(s, least, s.top_pad)
        if heap == 0:
            return 0
    av = heap + s.heap_info
    put(s, heap, av)
    init_arena(s, av)
    put(s, av + s.av_attached, 1)
    usable = get(s, heap + s.heap_size)
    put(s, av + s.av_system_mem, usable)
    put(s, av + s.av_max_system_mem, usable)
    top = av + s.av_size
    misalign = (top + s.header) & ALIGN_MASK
    if misalign:
        top += ALIGNMENT - misalign
    put(s, av + s.av_top, top)
    put(s, top + s.word, (heap + usable - top) | PREV_INUSE)
    replaced = s.thread_arena
    s.thread_arena = av
    put(s, av + s.av_next, get(s, s.main_arena + s.av_next))
    put(s, s.main_arena + s.av_next, av)
    detach_arena(s, replaced)
    return av


def take_free_arena(s: State) -> int:
    """The first arena of the free list becomes the thread's; 0 when the list is empty."""
    av = s.free_list
    if av:
        s.free_list = get(s, av + s.av_next_free)
        put(s, av + s.av_attached, 1)
        detach_arena(s, s.thread_arena)
        s.thread_arena = av
    return av


def remove_from_free_list(s: State, av: int) -> None:
    """Take an arena off the free list, if it is there."""
    before = 0
    at = s.free_list
    while at and not s.space.stop_signal:
        if at == av:
            if before:
                put(s, before + s.av_next_free, get(s, at + s.av_next_free))
            else:
                s.free_list = get(s, at + s.av_next_free)
            return
        before = at
        at = get(s, at + s.av_next_free)


def reused_arena(s: State) -> int:
    """The next arena in turn becomes the thread's, shared with those who have it already."""
    av = s.next_to_use if s.next_to_use else s.main_arena
    replaced = s.thread_arena
    detach_arena(s, replaced)
    remove_from_free_list(s, av)
    put(s, av + s.av_attached, get(s, av + s.av_attached) + 1)
    s.thread_arena = av
    s.next_to_use = get(s, av + s.av_next)
    return av


def release_arena(s: State) -> None:
    """The thread ends: its arena, if nobody else uses it, goes to the head of the free list."""
    av = s.thread_arena
    s.thread_arena = 0
    if av == 0:
        return
    attached = get(s, av + s.av_attached) - 1
    put(s, av + s.av_attached, attached)
    if attached == 0:
        put(s, av + s.av_next_free, s.free_list)
        s.free_list = av


def arenas_after_fork(s: State) -> None:
    """In the child only the calling thread is left: all arenas but its own are free (__malloc_fork_unlock_child)."""
    s.free_list = 0
    if s.thread_arena:
        put(s, s.thread_arena + s.av_attached, 1)
    av = s.main_arena
    while not s.space.stop_signal:
        if av != s.thread_arena:
            put(s, av + s.av_attached, 0)
            put(s, av + s.av_next_free, s.free_list)
            s.free_list = av
        av = get(s, av + s.av_next)
        if av == s.main_arena or av == 0:
            break
