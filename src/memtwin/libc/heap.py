# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""The heaps of thread arenas: reservations of 64 MiB, aligned to that size, of which the used part is made writable.

The alignment finds the heap of any chunk by masking its address, and the arena by the heap's first word.
"""

from __future__ import annotations

import cython

if not cython.compiled:
    from memtwin.libc.bins import chunk_size, unlink_chunk
    from memtwin.libc.state import (
        ALIGN_MASK,
        HEAP_MPROTECT_SIZE,
        HEAP_PAGESIZE,
        HEAP_PREV,
        HEAP_SIZE,
        MADV_DONTNEED,
        MAP_NORESERVE,
        MAP_PRIVATE_ANONYMOUS,
        MINSIZE,
        PREV_INUSE,
        PROT_NONE,
        PROT_READ_WRITE,
        State,
        get,
        put,
    )


def new_heap(s: State, size: int, top_pad: int) -> int:
    """A new heap with at least `size` bytes usable; its address, or 0."""
    if size + top_pad < 32 * 1024:
        size = 32 * 1024
    elif size + top_pad <= s.heap_max:
        size += top_pad
    elif size > s.heap_max:
        return 0
    else:
        size = s.heap_max
    size = (size + s.page_size - 1) & ~(s.page_size - 1)
    heap = reserve_heap(s)
    if heap == 0:
        return 0
    if s.space.sys_mprotect(heap, size, PROT_READ_WRITE):
        s.space.sys_munmap(heap, s.heap_max)
        return 0
    put(s, heap + HEAP_SIZE, size)
    put(s, heap + HEAP_MPROTECT_SIZE, size)
    if s.heap_pagesize:
        put(s, heap + HEAP_PAGESIZE, s.page_size)
    return heap


def reserve_heap(s: State) -> int:
    """Reserve an aligned heap_max bytes: beside the last one if that is free, else out of twice as much; 0: no room."""
    flags = MAP_PRIVATE_ANONYMOUS | (MAP_NORESERVE if s.heaps_noreserve else 0)
    size = s.heap_max
    if s.aligned_heap_area:
        wanted = s.aligned_heap_area
        s.aligned_heap_area = 0
        found = s.space.sys_mmap(wanted, size, PROT_NONE, flags, None, 0)
        if found > 0 and found & (size - 1) == 0:
            return found
        if found > 0:
            s.space.sys_munmap(found, size)
    found = s.space.sys_mmap(0, size << 1, PROT_NONE, flags, None, 0)
    if found > 0:
        start = (found + size - 1) & ~(size - 1)
        before = start - found
        if before:
            s.space.sys_munmap(found, before)
        else:
            s.aligned_heap_area = start + size
        s.space.sys_munmap(start + size, size - before)
        return start
    found = s.space.sys_mmap(0, size, PROT_NONE, flags, None, 0)
    if found > 0 and found & (size - 1) == 0:
        return found
    if found > 0:
        s.space.sys_munmap(found, size)
    return 0


def grow_heap(s: State, heap: int, more: int) -> bool:
    """Make `more` bytes more usable; False when the heap is full or the kernel refuses."""
    more = (more + s.page_size - 1) & ~(s.page_size - 1)
    size = get(s, heap + HEAP_SIZE) + more
    if size > s.heap_max or more > s.heap_max:
        return False
    writable = get(s, heap + HEAP_MPROTECT_SIZE)
    if size > writable:
        if s.space.sys_mprotect(heap + writable, size - writable, PROT_READ_WRITE):
            return False
        put(s, heap + HEAP_MPROTECT_SIZE, size)
    put(s, heap + HEAP_SIZE, size)
    return True


def shrink_heap(s: State, heap: int, less: int) -> bool:
    """Give the last `less` bytes back to the kernel; they stay writable."""
    size = get(s, heap + HEAP_SIZE)
    if size < less + s.heap_info:
        return False
    s.space.sys_madvise(heap + size - less, less, MADV_DONTNEED)
    put(s, heap + HEAP_SIZE, size - less)
    return True


def heap_trim(s: State, heap: int, pad: int) -> bool:
    """After a large free in a thread's arena: unmap heaps that are all top, then shrink the last one's top."""
    av = get(s, heap)
    heap = drop_heaps(s, heap, pad)
    top = get(s, av + s.av_top)
    top_size = chunk_size(s, top)
    if s.dead or top_size < s.trim_threshold or top_size - MINSIZE - 1 <= pad:
        return False
    extra = (top_size - MINSIZE - 1 - pad) & ~(s.page_size - 1)
    if extra == 0 or not shrink_heap(s, heap, extra):
        return False
    put(s, av + s.av_system_mem, get(s, av + s.av_system_mem) - extra)
    put(s, top + 8, (top_size - extra) | PREV_INUSE)
    return True


def drop_heaps(s: State, heap: int, pad: int) -> int:
    """Unmap the arena's last heap while all of it is top and the one before has room; returns the last heap left.

    The fence posts at the end of the heap before become, with a free chunk below them, the new top.
    """
    av = get(s, heap)
    while get(s, av + s.av_top) == heap + s.heap_info and not s.space.stop_signal:
        before = get(s, heap + HEAP_PREV)
        fence = before + get(s, before + HEAP_SIZE) - (MINSIZE - 16)
        misalign = fence & ALIGN_MASK
        fence -= misalign
        p = fence - get(s, fence)
        size = chunk_size(s, p) + (MINSIZE - 16) + misalign
        if not get(s, p + 8) & PREV_INUSE:
            size += get(s, p)
        if size + (s.heap_max - get(s, before + HEAP_SIZE)) < pad + MINSIZE + s.page_size:
            break
        put(s, av + s.av_system_mem, get(s, av + s.av_system_mem) - get(s, heap + HEAP_SIZE))
        if heap + s.heap_max == s.aligned_heap_area:
            s.aligned_heap_area = 0
        s.space.sys_munmap(heap, s.heap_max)
        heap = before
        if not get(s, p + 8) & PREV_INUSE:
            p -= get(s, p)
            unlink_chunk(s, av, p)
        put(s, av + s.av_top, p)
        put(s, p + 8, size | PREV_INUSE)
    return heap
