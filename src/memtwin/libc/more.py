# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""More memory from the kernel, when no free chunk will do: a mapping of its own, or a larger top (sysmalloc)."""

from __future__ import annotations

import cython

if not cython.compiled:
    from memtwin.libc.bins import bin_at, chunk_size, contiguous
    from memtwin.libc.give import free_rest
    from memtwin.libc.heap import advise_huge, grow_heap, new_heap
    from memtwin.libc.state import (
        ALIGN_MASK,
        ALIGNMENT,
        AV_FLAGS,
        IS_MMAPPED,
        MAP_PRIVATE_ANONYMOUS,
        MMAP_AS_MORECORE_SIZE,
        MREMAP_MAYMOVE,
        NON_MAIN_ARENA,
        NONCONTIGUOUS,
        PREV_INUSE,
        PROT_READ_WRITE,
        State,
        get,
        get32,
        put,
        put32,
    )


def sysmalloc(s: State, nb: int, av: int) -> int:
    """A chunk of `nb` from the kernel, as user pointer; 0 with ENOMEM. av 0: no arena, only a mapping will do."""
    tried_mmap = False
    if av == 0 or (nb >= s.mmap_threshold and s.n_mmaps < s.n_mmaps_max):
        mem = mmap_chunk(s, nb, s.hp_pagesize, s.hp_flags) if s.hp_pagesize and nb >= s.hp_pagesize else 0
        if mem == 0:
            mem = mmap_chunk(s, nb, s.page_size, 0)
        if mem:
            return mem
        tried_mmap = True
    if av == 0:
        return s.fail()
    if not top_is_whole(s, av):
        s.die(s.top_assertion)
        return 0
    if av == s.main_arena:
        grow_main_arena(s, av, nb)
    elif not grow_thread_arena(s, av, nb) and not tried_mmap:
        mem = mmap_chunk(s, nb, s.page_size, 0)
        if mem:
            return mem
    if s.dead:
        return 0
    if get(s, av + s.av_system_mem) > get(s, av + s.av_max_system_mem):
        put(s, av + s.av_max_system_mem, get(s, av + s.av_system_mem))
    mem = cut_top(s, av, nb)
    return mem if mem else s.fail()


def top_is_whole(s: State, av: int) -> bool:
    """What sysmalloc asserts: there is no top yet, or it has a sane size and ends at a page."""
    top = get(s, av + s.av_top)
    word = get(s, top + s.word)
    size = chunk_size(s, top)
    if top == bin_at(s, av, 1) and size == 0:
        return True
    return size >= s.minsize and word & PREV_INUSE != 0 and (top + size) & (s.page_size - 1) == 0


def cut_top(s: State, av: int, nb: int) -> int:
    """A chunk of `nb` off the low end of the top, as user pointer; 0 when the top is too small."""
    p = get(s, av + s.av_top)
    size = chunk_size(s, p)
    if size < nb + s.minsize:
        return 0
    put(s, av + s.av_top, p + nb)
    put(s, p + s.word, nb | PREV_INUSE | (0 if av == s.main_arena else NON_MAIN_ARENA))
    put(s, p + nb + s.word, (size - nb) | PREV_INUSE)
    return p + s.header


def mmap_chunk(s: State, nb: int, unit: int, flags: int) -> int:
    """A chunk with a mapping of its own, of whole pages of `unit` bytes; its user pointer, or 0.

    flags: of the mapping, besides private and anonymous: for huge pages MAP_HUGETLB, else 0.
    Up to 2.42 the chunk is the whole mapping, with a word at its end that no neighbour uses; since 2.43 it is 16 bytes
    less. With words of four bytes it begins where its memory is aligned.
    """
    extra = s.header if s.mapped_like_heap else s.word
    if s.word == 4:
        extra += ALIGN_MASK
    size = (nb + extra + unit - 1) & ~(unit - 1) & s.word_mask
    if size <= nb:
        return 0
    p = s.told(s.space.sys_mmap(0, size, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS | flags, None, 0))
    if p < 0:
        return 0
    if flags == 0:
        advise_huge(s, p, size)
    if s.names_mappings:
        name_mapping(s, p, size)
    lead = -(p + s.header) & ALIGN_MASK
    put(s, p + lead, lead | (1 if flags and s.marks_huge_mappings else 0))
    put(s, p + lead + s.word, (size - lead - (s.header if s.mapped_like_heap else 0)) | IS_MMAPPED)
    s.count_mmap(1, size)
    return p + lead + s.header


def name_mapping(s: State, start: int, size: int) -> None:
    """The debug library's prctl: the kernel's refusal stays in errno (sysdeps/unix/sysv/linux/setvmaname.h)."""
    s.told(s.space.sys_set_vma_name(start, size, " glibc: malloc"))


def mremap_chunk(s: State, p: int, nb: int) -> int:
    """Resize a mapped chunk for `nb`; the chunk's new place, or 0 when the kernel refuses."""
    mark = get(s, p) & 1 if s.marks_huge_mappings else 0
    unit = s.hp_pagesize if mark else s.page_size
    offset = get(s, p) - mark
    beyond = s.header if s.mapped_like_heap else 0
    size = (chunk_size(s, p) + offset + beyond) & s.word_mask
    block = (p - offset) & s.word_mask
    within = (p + s.header) & (unit - 1)
    if (block | size) & (unit - 1) or within & (within - 1):
        s.die("mremap_chunk(): invalid pointer")
        return 0
    new = (nb + offset + (beyond if beyond else s.word) + unit - 1) & ~(unit - 1) & s.word_mask
    if size == new:
        return p
    moved = s.told(s.space.sys_mremap(block, size, new, MREMAP_MAYMOVE, 0))
    if moved < 0:
        return 0
    if size < s.thp_pagesize or not s.advises_once:
        advise_huge(s, moved, new)
    put(s, moved + offset + s.word, (new - offset - beyond) | IS_MMAPPED)
    s.count_mmap(0, cython.cast(cython.longlong, new - size + beyond))  # glibc counts `beyond` again each time
    return moved + offset


def grow_thread_arena(s: State, av: int, nb: int) -> bool:
    """More of the arena's last heap, or another heap; False when neither can be had."""
    old_top = get(s, av + s.av_top)
    old_size = chunk_size(s, old_top)
    heap = old_top & ~(s.heap_max - 1)
    heap_size = get(s, heap + s.heap_size)
    if s.minsize + nb > old_size and grow_heap(s, heap, s.minsize + nb - old_size):
        grown = get(s, heap + s.heap_size)
        put(s, av + s.av_system_mem, get(s, av + s.av_system_mem) + grown - heap_size)
        put(s, old_top + s.word, (heap + grown - old_top) | PREV_INUSE)
        return True
    another = new_heap(s, nb + s.minsize + s.heap_info, s.top_pad)
    if another == 0:
        return False
    size = get(s, another + s.heap_size)
    put(s, another, av)
    put(s, another + s.heap_prev, heap)
    put(s, av + s.av_system_mem, get(s, av + s.av_system_mem) + size)
    put(s, av + s.av_top, another + s.heap_info)
    put(s, another + s.heap_info + s.word, (size - s.heap_info) | PREV_INUSE)
    fence_old_top(s, av, old_top, old_size)
    return True


def fence_old_top(s: State, av: int, old_top: int, old_size: int) -> None:
    """The full heap's top becomes an ordinary chunk below two fence posts, and is freed if it is large enough."""
    old_size = (old_size - s.minsize) & ~ALIGN_MASK
    put(s, old_top + old_size + s.header + s.word, PREV_INUSE)
    if old_size < s.minsize:
        put(s, old_top + s.word, (old_size + s.header) | PREV_INUSE)
        put(s, old_top + old_size + s.header, old_size + s.header)
        return
    put(s, old_top + old_size + s.word, s.header | PREV_INUSE)
    put(s, old_top + old_size + s.header, s.header)
    put(s, old_top + s.word, old_size | PREV_INUSE | NON_MAIN_ARENA)
    free_rest(s, av, old_top)


def grow_main_arena(s: State, av: int, nb: int) -> None:
    """Move the break up, or, where it cannot be, map memory in its place; then extend or replace the top."""
    old_top = get(s, av + s.av_top)
    old_size = chunk_size(s, old_top)
    size = (nb + s.top_pad + s.minsize) & s.word_mask
    if contiguous(s, av):
        size = (size - old_size) & s.word_mask
    if s.thp_pagesize:
        now = s.curbrk
        if s.brk_asked:
            now = 0 if s.morecore_fails else s.sbrk(0)
        end = (now + size + s.thp_pagesize - 1) & ~(s.thp_pagesize - 1)
        size = (end - now) & s.word_mask
    else:
        size = (size + s.page_size - 1) & ~(s.page_size - 1) & s.word_mask
    end = 0
    brk = 0 if s.morecore_fails or not 0 < size <= s.ptrdiff_max else s.sbrk(size)
    if brk:
        advise_huge(s, brk, size)
    else:
        size = map_instead(s, av, nb, size, old_size)
        if size == 0:
            return
        brk = s.mapped_instead
        end = brk + size
    if s.sbrk_base == 0:
        s.sbrk_base = brk
    put(s, av + s.av_system_mem, get(s, av + s.av_system_mem) + size)
    if brk == old_top + old_size and end == 0:
        put(s, old_top + s.word, (size + old_size) | PREV_INUSE)
    elif contiguous(s, av) and old_size and brk < old_top + old_size:
        s.die("break adjusted to free malloc space")
    else:
        start_new_top(s, av, brk, end, size, old_top, old_size)


def map_instead(s: State, av: int, nb: int, size: int, old_size: int) -> int:
    """A mapping for the main arena where the break cannot move by `size`: its size, or 0 for none.

    Its place is in `mapped_instead`. The arena counts as in pieces from then on.
    """
    unit, least = s.page_size, MMAP_AS_MORECORE_SIZE
    if s.transposed_fallback:
        unit, least = least, unit
    found = -1
    if s.hp_pagesize:
        mapped = fallback_size(s, av, nb, size, old_size, s.hp_pagesize, s.hp_pagesize)
        if nb < mapped <= s.ptrdiff_max:
            found = s.told(s.space.sys_mmap(0, mapped, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS | s.hp_flags, None, 0))
    if found < 0:
        mapped = fallback_size(s, av, nb, size, old_size, unit, least)
        if mapped <= nb or mapped > s.ptrdiff_max:
            return 0
        found = s.told(s.space.sys_mmap(0, mapped, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, None, 0))
        if found < 0:
            return 0
        advise_huge(s, found, mapped)
    if s.names_mappings:
        name_mapping(s, found, nb + s.top_pad + s.minsize if s.plain_fallback else mapped)
    put32(s, av + AV_FLAGS, get32(s, av + AV_FLAGS) | NONCONTIGUOUS)
    s.mapped_instead = found
    return mapped


def fallback_size(s: State, av: int, nb: int, size: int, old_size: int, unit: int, least: int) -> int:
    """How much is mapped where the break cannot move by `size`, which would have extended a top of `old_size`.

    unit: it is rounded up to; least: it is at least that, a MiB of pages. 2.35 to 2.37 take the two for each other;
    up to 2.42 less is mapped once the arena is in pieces.
    """
    if s.plain_fallback:
        size = (nb + s.top_pad + s.minsize + unit - 1) & ~(unit - 1) & s.word_mask
    elif contiguous(s, av):
        size = (size + old_size + unit - 1) & ~(unit - 1) & s.word_mask
    return size if size >= least else least


def start_new_top(s: State, av: int, brk: int, end: int, size: int, old_top: int, old_size: int) -> None:
    """The new memory does not follow the old top: the first time, after somebody else's sbrk, or after a mapping.

    end: where the new memory ends if that is known (a mapping), else 0. The old top is fenced off and freed.
    """
    start = brk
    correction = 0
    if contiguous(s, av):
        if old_size:
            put(s, av + s.av_system_mem, get(s, av + s.av_system_mem) + brk - (old_top + old_size))
        misalign = (brk + s.header) & ALIGN_MASK
        if misalign:
            correction = ALIGNMENT - misalign
            start += correction
        correction += old_size
        beyond = brk + size + correction
        correction += ((beyond + s.page_size - 1) & ~(s.page_size - 1)) - beyond
        end = s.sbrk(correction)
        if end:
            advise_huge(s, end, correction)
        else:
            correction = 0
            end = s.sbrk(0)
    else:
        if s.word == 4:
            start += -(brk + s.header) & ALIGN_MASK
        if end == 0:
            end = s.sbrk(0)
    if end == 0:
        return
    s.pieces.append(start)
    put(s, av + s.av_top, start)
    put(s, start + s.word, (end - start + correction) | PREV_INUSE)
    put(s, av + s.av_system_mem, get(s, av + s.av_system_mem) + correction)
    if old_size == 0:
        return
    old_size = (old_size - 2 * s.header) & ~ALIGN_MASK
    put(s, old_top + s.word, old_size | PREV_INUSE)
    put(s, old_top + old_size + s.word, s.header | PREV_INUSE)
    put(s, old_top + old_size + s.header + s.word, s.header | PREV_INUSE)
    if old_size >= s.minsize:
        free_rest(s, av, old_top)
