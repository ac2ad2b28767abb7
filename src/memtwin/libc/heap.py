# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""The heaps of thread arenas: reservations of 64 MiB, aligned to that size, of which the used part is made writable.

With words of four bytes they are of 1 MiB; with the tunable hugetlb=2, up to 2.41, of four huge pages.

The alignment finds the heap of any chunk by masking its address, and the arena by the heap's first word.
"""

from __future__ import annotations

import cython

if not cython.compiled:
    from memtwin.libc.bins import chunk_size, unlink_chunk
    from memtwin.libc.state import (
        ALIGN_MASK,
        MADV_DONTNEED,
        MADV_HUGEPAGE,
        MAP_NORESERVE,
        MAP_PRIVATE_ANONYMOUS,
        PREV_INUSE,
        PROT_NONE,
        PROT_READ_WRITE,
        THP_MADVISE,
        State,
        get,
        put,
    )


def advise_huge(s: State, start: int, size: int) -> None:
    """Ask for huge pages for a range of at least one, where the tunable hugetlb is 1 (madvise_thp).

    Since 2.43 only where the machine gives them for the asking; before, thp_pagesize is not set elsewhere.
    """
    if s.thp_pagesize == 0 or size < s.thp_pagesize or (s.thp_always and s.thp_mode != THP_MADVISE):
        return
    inside = start & (s.page_size - 1)
    if inside and s.advises_upwards:
        start += s.page_size - inside
        size -= s.page_size - inside
    elif inside:
        start -= inside
        size += inside
    s.told(s.space.sys_madvise(start, size, MADV_HUGEPAGE))


def new_heap(s: State, size: int, top_pad: int) -> int:
    """A new heap with at least `size` bytes usable, of huge pages if asked for and there; its address, or 0."""
    unit = s.hp_pagesize
    if unit == 0 and s.thp_heaps:
        unit = s.thp_pagesize
    if unit and (unit <= s.heap_max or not s.fixed_heap_max):
        heap = make_heap(s, size, top_pad, unit, s.hp_flags)
        if heap:
            return heap
    return make_heap(s, size, top_pad, s.page_size, MAP_NORESERVE if s.heaps_noreserve else 0)


def make_heap(s: State, size: int, top_pad: int, unit: int, flags: int) -> int:
    """`new_heap` of pages of `unit` bytes, mapped with these flags more (alloc_new_heap)."""
    least = 32 * 1024
    if s.hp_pagesize and s.hp_pagesize <= s.heap_max:
        least = s.hp_pagesize
    padded = (size + top_pad) & s.word_mask
    if padded < least:
        size = least
    elif padded <= s.heap_max:
        size = padded
    elif size > s.heap_max:
        return 0
    else:
        size = s.heap_max
    size = (size + unit - 1) & ~(unit - 1)
    heap = reserve_heap(s, flags)
    if heap == 0:
        return 0
    if s.told(s.space.sys_mprotect(heap, size, PROT_READ_WRITE)):
        s.told(s.space.sys_munmap(heap, s.heap_max))
        return 0
    advise_huge(s, heap, size)
    put(s, heap + s.heap_size, size)
    put(s, heap + s.heap_mprotect_size, size)
    if s.heap_pagesize:
        put(s, heap + 4 * s.word, unit)
    return heap


def heap_unit(s: State, heap: int) -> int:
    """Bytes of a heap's pages."""
    return get(s, heap + 4 * s.word) if s.heap_pagesize else s.page_size


def reserve_heap(s: State, extra: int) -> int:
    """Reserve an aligned heap_max bytes: beside the last one if that is free, else out of twice as much; 0: no room.

    extra: flags of the mapping.
    """
    flags = MAP_PRIVATE_ANONYMOUS | extra
    size = s.heap_max & s.word_mask
    if s.aligned_heap_area:
        wanted = s.aligned_heap_area
        s.aligned_heap_area = 0
        found = s.told(s.space.sys_mmap(wanted, size, PROT_NONE, flags, None, 0))
        if found > 0 and found & (size - 1) == 0:
            return found
        if found > 0:
            s.told(s.space.sys_munmap(found, size))
    found = s.told(s.space.sys_mmap(0, size << 1, PROT_NONE, flags, None, 0))
    if found > 0:
        start = (found + size - 1) & ~(size - 1)
        before = start - found
        if before:
            s.told(s.space.sys_munmap(found, before))
        else:
            s.aligned_heap_area = start + size
        s.told(s.space.sys_munmap(start + size, size - before))
        return start
    found = s.told(s.space.sys_mmap(0, size, PROT_NONE, flags, None, 0))
    if found > 0 and found & (size - 1) == 0:
        return found
    if found > 0:
        s.told(s.space.sys_munmap(found, size))
    return 0


def grow_heap(s: State, heap: int, more: int) -> bool:
    """Make `more` bytes more usable; False when the heap is full or the kernel refuses."""
    unit = heap_unit(s, heap)
    more = (more + unit - 1) & ~(unit - 1)
    before = get(s, heap + s.heap_size)
    size = before + more
    if size > s.heap_max or more > s.heap_max:
        return False
    writable = get(s, heap + s.heap_mprotect_size)
    if size > writable:
        if s.told(s.space.sys_mprotect(heap + writable, size - writable, PROT_READ_WRITE)):
            return False
        put(s, heap + s.heap_mprotect_size, size)
    if s.advises_once and before < s.thp_pagesize:
        advise_huge(s, heap, size)
    put(s, heap + s.heap_size, size)
    return True


def shrink_heap(s: State, heap: int, less: int) -> bool:
    """Give the last `less` bytes back to the kernel; they stay writable."""
    size = get(s, heap + s.heap_size)
    if size < less + s.heap_info:
        return False
    s.told(s.space.sys_madvise(heap + size - less, less, MADV_DONTNEED))
    put(s, heap + s.heap_size, size - less)
    return True


def heap_trim(s: State, heap: int, pad: int) -> bool:
    """After a large free in a thread's arena: unmap heaps that are all top, then shrink the last one's top."""
    av = get(s, heap)
    heap = drop_heaps(s, heap, pad)
    top = get(s, av + s.av_top)
    top_size = chunk_size(s, top)
    if s.dead or top_size < s.trim_threshold or top_size - s.minsize - 1 <= pad:
        return False
    extra = (top_size - s.minsize - 1 - pad) & ~(heap_unit(s, heap) - 1)
    if extra == 0 or not shrink_heap(s, heap, extra):
        return False
    put(s, av + s.av_system_mem, get(s, av + s.av_system_mem) - extra)
    put(s, top + s.word, (top_size - extra) | PREV_INUSE)
    return True


def drop_heaps(s: State, heap: int, pad: int) -> int:
    """Unmap the arena's last heap while all of it is top and the one before has room; returns the last heap left.

    The fence posts at the end of the heap before become, with a free chunk below them, the new top.
    """
    av = get(s, heap)
    while get(s, av + s.av_top) == heap + s.heap_info and not s.space.stop_signal:
        before = get(s, heap + s.heap_prev)
        fence = before + get(s, before + s.heap_size) - (s.minsize - s.header)
        misalign = fence & ALIGN_MASK
        fence -= misalign
        p = fence - get(s, fence)
        size = chunk_size(s, p) + (s.minsize - s.header) + misalign
        if not get(s, p + s.word) & PREV_INUSE:
            size += get(s, p)
        if size + (s.heap_max - get(s, before + s.heap_size)) < (pad + s.minsize + heap_unit(s, heap)) & s.word_mask:
            break
        put(s, av + s.av_system_mem, get(s, av + s.av_system_mem) - get(s, heap + s.heap_size))
        if heap + s.heap_max == s.aligned_heap_area:
            s.aligned_heap_area = 0
        s.told(s.space.sys_munmap(heap, s.heap_max))
        heap = before
        if not get(s, p + s.word) & PREV_INUSE:
            p -= get(s, p)
            unlink_chunk(s, av, p)
        put(s, av + s.av_top, p)
        put(s, p + s.word, size | PREV_INUSE)
    return heap
