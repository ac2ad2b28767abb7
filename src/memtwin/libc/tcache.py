# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""The thread cache: per thread, up to tcache_count freed chunks of each of 64 sizes, last in first out.

A cached chunk keeps its in-use bit. Its user data begin with the link to the next one, mangled with its own place
(safe-linking), and with a key by which a second free is noticed:

    user pointer e:   e + 0   (e >> 12) ^ next        e + 8   tcache_key
"""

from __future__ import annotations

import cython

if not cython.compiled:
    from memtwin.libc.state import (
        ALIGN_MASK,
        ALIGNMENT,
        HEADER,
        MINSIZE,
        TCACHE_ENTRIES,
        State,
        get,
        get16,
        put,
        put16,
    )


def tcache_index(size: int) -> int:
    """The bin for chunks of `size` bytes, header included (csize2tidx)."""
    return (size - MINSIZE + ALIGN_MASK) // ALIGNMENT


def tcache_has_room(s: State, index: int) -> bool:
    """Whether the thread has a cache, with such a bin, that is not full."""
    return s.tcache != 0 and index < s.tcache_bins and get16(s, s.tcache + 2 * index) < s.tcache_count


def tcache_put(s: State, p: int, index: int) -> None:
    """The chunk `p` becomes the first of its bin, which has room."""
    entry = s.tcache + TCACHE_ENTRIES + 8 * index
    e = p + HEADER
    put(s, e + 8, s.tcache_key)
    put(s, e, ((e >> 12) & s.link_mask) ^ get(s, entry))
    put(s, entry, e)
    put16(s, s.tcache + 2 * index, get16(s, s.tcache + 2 * index) + 1)


def tcache_get(s: State, index: int) -> int:
    """The user pointer of the first chunk of a bin that is not empty."""
    entry = s.tcache + TCACHE_ENTRIES + 8 * index
    e = get(s, entry)
    if e & ALIGN_MASK:
        s.die("malloc(): unaligned tcache chunk detected")
        return 0
    put(s, entry, ((e >> 12) & s.link_mask) ^ get(s, e))
    put16(s, s.tcache + 2 * index, get16(s, s.tcache + 2 * index) - 1)
    put(s, e + 8, 0)
    return e


def tcache_holds(s: State, mem: int, index: int) -> bool:
    """The key says that `mem` is cached: look for it in its bin; aborts when it is there, or the bin is broken."""
    e = get(s, s.tcache + TCACHE_ENTRIES + 8 * index)
    count = 0
    while e:
        if count >= s.tcache_count:
            s.die("free(): too many chunks detected in tcache")
        elif e & ALIGN_MASK:
            s.die("free(): unaligned chunk detected in tcache 2")
        elif e == mem:
            s.die("free(): double free detected in tcache 2")
        if s.dead or s.space.stop_signal:
            return True
        e = ((e >> 12) & s.link_mask) ^ get(s, e)
        count += 1
    return False
