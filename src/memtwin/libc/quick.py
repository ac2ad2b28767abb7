# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""The calls that cost least, for a caller that makes a hundred million of them: served by the thread's cache, with
every word that they need in reach of a plain load or store.

`quick_malloc` and `quick_free` do all that malloc or free would, or nothing at all and return 0: then the call has to
be made in the ordinary way. They know no more rules than tcache.py. What fails a check, has another size, is not in
memory, or has words of four bytes is left to the ordinary way. A block's first word, which is the program's, they set
and get besides.
"""

from __future__ import annotations

import cython

if not cython.compiled:
    from memtwin.hostmem import load8, load16, load64, store16, store64
    from memtwin.libc.malloc import Malloc
    from memtwin.libc.state import ALIGN_MASK, IS_MMAPPED, SIZE_BITS, TCACHE_SMALL_BINS, State
    from memtwin.memory import WRITE

    HEADER = 16

    # Compiled, these are inlined where they are called: their text for that is in the .pxd.

    def index_of(size: int) -> int:
        """tcache_index for words of eight bytes; negative for what is no chunk's size."""
        return (size - HEADER - 1) >> 4

    def direct(s: State, address: int) -> int:
        """Host address of a byte that may be loaded and stored there; 0 when the process has to be asked."""
        at = address & s.mask
        return s.window + at if load8(s.permissions + (at >> s.page_shift)) & WRITE else 0

    def quick_bins(s: Malloc) -> int:
        """How many bins of the thread's cache may be used quickly, until the next ordinary call or another thread.

        None when the cache reaches over the end of a page: one look tells whether it is in reach.
        """
        last = s.tcache + s.tcache_bytes - 1
        if s.tcache == 0 or (s.tcache ^ last) >> s.page_shift or s.hooked or s.dead or s.space.stop_signal:
            return 0
        if not s.tcache_large_bins:
            return s.tcache_bins
        return min(index_of(s.tcache_max_bytes), TCACHE_SMALL_BINS)

    def quick_malloc(s: State, request: int, bins: int, first: int) -> int:
        """malloc(3) out of one of `quick_bins`; the new block's first word becomes `first`. 0: not done."""
        index = (request - 9) >> 4 if request > 24 else 0
        if index >= bins:
            return 0
        cache = direct(s, s.tcache)
        count = cache + 2 * index
        entry = cache + s.tcache_entries + 8 * index
        if cache == 0 or (load16(count) == 0 and not s.tcache_counts_down):
            return 0
        e = load64(entry)
        block = direct(s, e)
        if e == 0 or block == 0 or e & ALIGN_MASK:
            return 0
        store64(entry, ((e >> 12) & s.link_mask) ^ load64(block))
        store16(count, (load16(count) - s.tcache_one) & 0xFFFF)
        store64(block + 8, 0)
        store64(block, first)
        return e

    def quick_free(s: State, mem: int, bins: int) -> int:
        """free(3) into one of `quick_bins`; what the block's first word was. 0: not done, or that word is 0."""
        block = direct(s, mem)
        if block == 0 or mem & ALIGN_MASK or mem & (s.page_size - 1) == 0:
            return 0
        head = load64(block - 8)
        size = head & ~SIZE_BITS
        index = index_of(size)
        if not 0 <= index < bins or size & ALIGN_MASK or head & IS_MMAPPED or mem - HEADER > (-size) & s.word_mask:
            return 0
        first = load64(block)
        cache = direct(s, s.tcache)
        if cache == 0 or load64(block + 8) == s.tcache_key:
            return 0
        count = cache + 2 * index
        entry = cache + s.tcache_entries + 8 * index
        places = load16(count)
        if not (places if s.tcache_counts_down else places < s.tcache_count) or first == 0:
            return 0
        store64(block + 8, s.tcache_key)
        store64(block, ((mem >> 12) & s.link_mask) ^ load64(entry))
        store64(entry, mem)
        store16(count, (places + s.tcache_one) & 0xFFFF)
        return first
