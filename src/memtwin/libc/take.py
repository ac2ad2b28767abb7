# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Taking: a chunk for a request out of an arena (_int_malloc), a chunk made larger or smaller in place or elsewhere
(_int_realloc).

The order in which an arena is searched:

    its fast bin · its small bin · the unsorted chunks, sorted on the way · the large bin of its size, best fit ·
    the next larger bin with a chunk · the top · the fast bins emptied and all again · the kernel
"""

from __future__ import annotations

import cython

if not cython.compiled:
    from memtwin.libc.bins import (
        bin_at,
        bin_index,
        chunk_size,
        consolidate,
        fast_bin,
        have_fastchunks,
        mark_in_use,
        misaligned,
        put_large,
        put_unsorted,
        request_size,
        set_bit,
        small_index,
        unlink_chunk,
    )
    from memtwin.libc.give import free_rest
    from memtwin.libc.more import cut_top, sysmalloc
    from memtwin.libc.state import (
        ALIGN_MASK,
        BINMAPSIZE,
        NON_MAIN_ARENA,
        PREV_INUSE,
        SIZE_BITS,
        State,
        get,
        get32,
        put,
        put32,
    )
    from memtwin.libc.tcache import new_tcache, tcache_get, tcache_has_room, tcache_index, tcache_put

    MAX_ITERS = 10000


def int_malloc(s: State, av: int, request: int) -> int:
    """A block of `request` bytes from an arena (0: there is none), as user pointer; 0 with errno ENOMEM."""
    nb = request_size(s, request)
    if nb == 0:
        return s.fail()
    mem = find_chunk(s, av, nb) if av else sysmalloc(s, nb, av)
    if mem and s.perturb and not s.from_cache:
        perturb_new(s, mem, request)
    s.from_cache = False
    return mem


def perturb_new(s: State, mem: int, request: int) -> None:
    """M_PERTURB: the bytes of a new block become the complement of its value."""
    s.space.clear(mem, (s.perturb ^ 255) & 255, request)


def find_chunk(s: State, av: int, nb: int) -> int:
    """`int_malloc` for a chunk size, in the order of the module's text."""
    if nb <= s.max_fast:
        mem = take_fast(s, av, nb)
        if mem or s.dead:
            return mem
    if nb < s.min_large:
        mem = take_small(s, av, nb)
        if mem or s.dead:
            return mem
    elif have_fastchunks(s, av):
        consolidate(s, av)
    s.unsorted_count = 0
    while not s.dead and not s.space.stop_signal:
        mem = sort_unsorted(s, av, nb)
        if mem or s.dead:
            return mem
        if nb >= s.min_large:
            mem = take_best_large(s, av, nb)
            if mem or s.dead:
                return mem
        mem = take_larger_bin(s, av, nb)
        if mem or s.dead:
            return mem
        if chunk_size(s, get(s, av + s.av_top)) > get(s, av + s.av_system_mem):
            s.die("malloc(): corrupted top size")
            return 0
        mem = cut_top(s, av, nb)
        if mem:
            return mem
        if not have_fastchunks(s, av):
            return sysmalloc(s, nb, av)
        consolidate(s, av)
    return 0


def take_fast(s: State, av: int, nb: int) -> int:
    """The first chunk of the fast bin of that size, or 0; the next ones fill the thread's cache."""
    fb = fast_bin(s, av, nb)
    p = get(s, fb)
    if p == 0:
        return 0
    if misaligned(s, p) and s.link_mask:
        s.die("malloc(): unaligned fastbin chunk detected 2")
        return 0
    if not put_next_fast(s, fb, p):
        return 0
    if fast_bin(s, av, chunk_size(s, p)) != fb:
        s.die("malloc(): memory corruption (fast)")
        return 0
    index = tcache_index(s, nb)
    while tcache_has_room(s, index):
        other = get(s, fb)
        if other == 0:
            break
        if misaligned(s, other) and s.link_mask:
            s.die("malloc(): unaligned fastbin chunk detected 3")
            return 0
        if s.checks_fastbin_size and tcache_index(s, chunk_size(s, other)) != index:
            s.die("malloc(): chunk size mismatch in fastbin")
            return 0
        if not put_next_fast(s, fb, other):
            return 0
        tcache_put(s, other, index)
    return p + s.header


def put_next_fast(s: State, fb: int, p: int) -> bool:
    """The chunk after `p` becomes the first of the fast bin; where there are threads its address is checked first."""
    after = (((p + s.header) >> 12) & s.link_mask) ^ get(s, p + s.header)
    if not s.single and after and misaligned(s, after) and s.link_mask:
        s.die("malloc(): unaligned fastbin chunk detected")
        return False
    put(s, fb, after)
    return True


def take_small(s: State, av: int, nb: int) -> int:
    """The oldest chunk of the small bin of that size, or 0; the next ones fill the thread's cache."""
    fd, bk = s.header, s.bk
    bin = bin_at(s, av, small_index(s, nb))
    p = get(s, bin + bk)
    if p == bin:
        return 0
    back = get(s, p + bk)
    if get(s, back + fd) != p:
        s.die("malloc(): smallbin double linked list corrupted")
        return 0
    mark_in_use(s, av, p, nb)
    put(s, bin + bk, back)
    put(s, back + fd, bin)
    index = tcache_index(s, nb)
    if s.tcache_dummy and index < s.tcache_bins:
        begin_tcache(s, av)
    while tcache_has_room(s, index):
        other = get(s, bin + bk)
        if other == bin:
            break
        if other:
            back = get(s, other + bk)
            mark_in_use(s, av, other, nb)
            put(s, bin + bk, back)
            put(s, back + fd, bin)
            tcache_put(s, other, index)
        elif s.space.stop_signal:
            break
    return p + s.header


def begin_tcache(s: State, av: int) -> None:
    """A thread that has no cache yet, and is not to do without, gets one out of the arena (tcache_init, since 2.43).

    av 0: out of the thread's arena is the caller's business. It is asked once: without memory the thread does without.
    """
    if s.tcache or s.no_tcache:
        return
    s.no_tcache = True
    if s.tcache_count == 0:
        return
    mem = int_malloc(s, av, request_size(s, s.tcache_bytes))
    if mem:
        new_tcache(s, mem)


def unsorted_is_sane(s: State, av: int, p: int, size: int, back: int) -> bool:
    """The checks on a chunk of the unsorted bin; aborts when one fails."""
    fd = s.header
    above = p + size
    system_mem = get(s, av + s.av_system_mem)
    if size <= s.header or size > system_mem:
        s.die("malloc(): invalid size (unsorted)")
        return False
    head = get(s, above + s.word)
    if head < s.header or head > system_mem:
        s.die("malloc(): invalid next size (unsorted)")
    elif get(s, above) & ~SIZE_BITS != size:
        s.die("malloc(): mismatching next->prev_size (unsorted)")
    elif get(s, back + fd) != p or get(s, p + fd) != bin_at(s, av, 1):
        s.die("malloc(): unsorted double linked list corrupted")
    elif head & PREV_INUSE:
        s.die("malloc(): invalid next->prev_inuse (unsorted)")
    return not s.dead


def sort_unsorted(s: State, av: int, nb: int) -> int:
    """Sort the unsorted chunks, oldest first, into their bins; stop at one that fits exactly.

    Exact fits fill the thread's cache before one is returned. For a small request the last remainder is split
    instead, if it is the only unsorted chunk. Returns a user pointer, or 0 when all (or MAX_ITERS) are sorted.
    """
    fd, bk = s.header, s.bk
    unsorted = bin_at(s, av, 1)
    index = tcache_index(s, nb)
    cached = False
    sorted_now = 0
    while sorted_now < MAX_ITERS:
        p = get(s, unsorted + bk)
        if p == unsorted or s.space.stop_signal:
            break
        back = get(s, p + bk)
        size = chunk_size(s, p)
        if not unsorted_is_sane(s, av, p, size, back):
            return 0
        if nb < s.min_large and back == unsorted and size > nb + s.minsize and p == get(s, av + s.av_last_remainder):
            return split_last_remainder(s, av, p, size, nb)
        put(s, unsorted + bk, back)
        put(s, back + fd, unsorted)
        if size == nb:
            mark_in_use(s, av, p, size)
            if s.tcache_dummy:
                begin_tcache(s, av)
            if not tcache_has_room(s, index):
                return p + s.header
            tcache_put(s, p, index)
            cached = True
            continue
        put_large(s, av, p, size)
        if s.dead:
            return 0
        sorted_now += 1
        s.unsorted_count += 1
        if cached and s.tcache_unsorted_limit and s.unsorted_count > s.tcache_unsorted_limit:
            break
    if not cached:
        return 0
    s.from_cache = True
    return tcache_get(s, index)


def split_last_remainder(s: State, av: int, p: int, size: int, nb: int) -> int:
    """The chunk, alone in the unsorted bin, gives its low end; the rest stays there as the last remainder."""
    fd, bk = s.header, s.bk
    unsorted = bin_at(s, av, 1)
    rest = p + nb
    rest_size = size - nb
    put(s, unsorted + bk, rest)
    put(s, unsorted + fd, rest)
    put(s, av + s.av_last_remainder, rest)
    put(s, rest + bk, unsorted)
    put(s, rest + fd, unsorted)
    if rest_size >= s.min_large:
        put(s, rest + s.fd_nextsize, 0)
        put(s, rest + s.bk_nextsize, 0)
    put(s, p + s.word, nb | PREV_INUSE | (0 if av == s.main_arena else NON_MAIN_ARENA))
    put(s, rest + s.word, rest_size | PREV_INUSE)
    put(s, rest + rest_size, rest_size)
    return p + s.header


def take_best_large(s: State, av: int, nb: int) -> int:
    """From the large bin that holds this size: the smallest chunk that fits, the second of its size if there is one."""
    bin = bin_at(s, av, bin_index(s, nb))
    p = get(s, bin + s.header)
    if p == bin or get(s, p + s.word) < nb:
        return 0
    p = get(s, p + s.bk_nextsize)
    while chunk_size(s, p) < nb and not s.space.stop_signal:
        p = get(s, p + s.bk_nextsize)
    size = chunk_size(s, p)
    if p != get(s, bin + s.bk) and get(s, p + s.word) == get(s, get(s, p + s.header) + s.word):
        p = get(s, p + s.header)
    unlink_chunk(s, av, p)
    if s.dead:
        return 0
    return take_and_split(s, av, p, size, nb, False, "malloc(): corrupted unsorted chunks")


def take_larger_bin(s: State, av: int, nb: int) -> int:
    """The last chunk of the first bin above that has one, found by the bit map; bits of empty bins are cleared."""
    index = bin_index(s, nb) + 1
    block = index >> 5
    bits = get32(s, av + s.av_binmap + 4 * block) >> (index & 31) << (index & 31)
    while True:
        while bits == 0:
            block += 1
            if block >= BINMAPSIZE:
                return 0
            bits = get32(s, av + s.av_binmap + 4 * block)
        index = 0
        while not bits >> index & 1:
            index += 1
        bin = bin_at(s, av, 32 * block + index)
        p = get(s, bin + s.bk)
        if p != bin:
            break
        bits &= ~(1 << index)
        at = av + s.av_binmap + 4 * block
        put32(s, at, get32(s, at) & ~(1 << index))
    size = chunk_size(s, p)
    unlink_chunk(s, av, p)
    if s.dead:
        return 0
    return take_and_split(s, av, p, size, nb, nb < s.min_large, "malloc(): corrupted unsorted chunks 2")


def take_and_split(s: State, av: int, p: int, size: int, nb: int, advertise: bool, message: str) -> int:
    """An unlinked chunk serves `nb`: whole, or its low end while the rest becomes unsorted (and the last remainder)."""
    rest_size = size - nb
    if rest_size < s.minsize:
        mark_in_use(s, av, p, size)
        return p + s.header
    rest = p + nb
    if not put_unsorted(s, av, rest, rest_size, message):
        return 0
    if advertise:
        put(s, av + s.av_last_remainder, rest)
    put(s, p + s.word, nb | PREV_INUSE | (0 if av == s.main_arena else NON_MAIN_ARENA))
    put(s, rest + s.word, rest_size | PREV_INUSE)
    put(s, rest + rest_size, rest_size)
    return p + s.header


def set_head_size(s: State, p: int, size: int) -> None:
    """Another size for a chunk; its flag bits stay."""
    put(s, p + s.word, (get(s, p + s.word) & SIZE_BITS) | size)


def int_realloc(s: State, av: int, p: int, old_size: int, nb: int) -> int:
    """Resize a chunk of an arena to `nb`: in place, into the top or a free chunk above, or by moving. 0: no memory."""
    if get(s, p + s.word) <= s.header or old_size >= get(s, av + s.av_system_mem):
        s.die("realloc(): invalid old size")
        return 0
    above = p + old_size
    above_size = chunk_size(s, above)
    if get(s, above + s.word) <= s.header or above_size >= get(s, av + s.av_system_mem):
        s.die("realloc(): invalid next size")
        return 0
    if old_size >= nb:
        return fit(s, av, p, old_size, nb)
    if above == get(s, av + s.av_top):
        if old_size + above_size >= nb + s.minsize:
            set_head_size(s, p, nb | (0 if av == s.main_arena else NON_MAIN_ARENA))
            put(s, av + s.av_top, p + nb)
            put(s, p + nb + s.word, (old_size + above_size - nb) | PREV_INUSE)
            return p + s.header
    elif not get(s, above + above_size + s.word) & PREV_INUSE and old_size + above_size >= nb:
        unlink_chunk(s, av, above)
        return 0 if s.dead else fit(s, av, p, old_size + above_size, nb)
    return grow_by_moving(s, av, p, old_size, nb)


def grow_by_moving(s: State, av: int, p: int, old_size: int, nb: int) -> int:
    """A new chunk, the contents copied, the old one freed; no copy when the new one lies right behind the old."""
    mem = int_malloc(s, av, nb - ALIGN_MASK)
    if mem == 0:
        return 0
    new = mem - s.header
    if new == p + old_size:
        return fit(s, av, p, chunk_size(s, new) + old_size, nb)
    s.space.move(mem, p + s.header, old_size - s.word)
    s.bytes_copied += old_size - s.word
    free_rest(s, av, p)
    return mem


def fit(s: State, av: int, p: int, size: int, nb: int) -> int:
    """The chunk, of `size` now, keeps `nb`; what is left over is freed if a chunk can be made of it."""
    foreign = 0 if av == s.main_arena else NON_MAIN_ARENA
    rest_size = size - nb
    if rest_size < s.minsize:
        set_head_size(s, p, size | foreign)
        set_bit(s, p + size + s.word, PREV_INUSE)
    else:
        rest = p + nb
        set_head_size(s, p, nb | foreign)
        put(s, rest + s.word, rest_size | PREV_INUSE | foreign)
        set_bit(s, rest + rest_size + s.word, PREV_INUSE)
        free_rest(s, av, rest)
    return p + s.header
