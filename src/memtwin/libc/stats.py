# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""What the allocator says about itself: mallinfo, mallinfo2, malloc_stats and malloc_info, as glibc counts and prints.

    mallinfo's fields                                          malloc_info's lines
    arena     bytes of all arenas                              <size>, <unsorted>   one a list that is not empty
    ordblks   free chunks in bins, and the tops                <total type="fast">  fast bins
    smblks    chunks in fast bins    fsmblks  their bytes      <total type="rest">  bins and tops
    hblks     mapped chunks          hblkhd   their bytes      <total type="mmap">  mapped chunks
    uordblks  arena - fordblks       usmblks  always 0         <system>   bytes now, and the most there ever were
    fordblks  free bytes, fast bins included                   <aspace>   bytes of heaps, and those made writable
    keepcost  the main arena's top

What lies in thread caches counts as in use. malloc_info adds up size words with their flag bits, so that its totals
are one too high for each chunk in a bin; mallinfo masks the bits. Both are glibc's own behaviour, 2.31 to 2.43
(int_mallinfo and __malloc_info of malloc/malloc.c).

Looking changes nothing. A fast bin whose links are broken aborts with the message of the function that looks (since
2.32, commit "Add Safe-Linking to fastbins and tcache").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cython

from memtwin.libc.state import State

if not cython.compiled:
    from memtwin.libc.bins import bin_at, chunk_size, misaligned
    from memtwin.libc.state import (
        ALIGN_MASK,
        NBINS,
        SIZE_BITS,
        get,
    )

if TYPE_CHECKING:
    from memtwin.libc.malloc import Malloc

FIELDS = (
    "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
)  # fmt: skip
UNSIGNED = 0xFFFFFFFF


class Tally:
    """One list of free chunks: how many, their bytes, and their size words (with flag bits) added up and compared."""

    def __init__(self) -> None:
        self.count = self.bytes = self.words = self.smallest = self.largest = 0

    def add(self, word: int) -> None:
        """One chunk more, by its size word."""
        if self.count == 0 or word < self.smallest:
            self.smallest = word
        if word > self.largest:
            self.largest = word
        self.count += 1
        self.words += word
        self.bytes += word & ~SIZE_BITS


def tally_fastbin(s: State, av: int, index: int, caller: str) -> Tally:
    """Fast bin `index`; dies in `caller`'s name at a link that is no chunk's address."""
    t = Tally()
    p = get(s, av + s.av_fastbins + s.word * index)
    most = get(s, av + s.av_system_mem) // s.minsize
    while p and t.count <= most and not s.space.stop_signal:
        if s.link_mask and misaligned(s, p):
            s.die(caller + "(): unaligned fastbin chunk detected")
            break
        t.add(get(s, p + s.word) & ~SIZE_BITS)
        p = (((p + s.header) >> 12) & s.link_mask) ^ get(s, p + s.header)
    return t


def tally_bin(s: State, av: int, index: int) -> Tally:
    """Bin `index`, 1 being the unsorted one. A list without an end is left after as many as the arena can hold."""
    t = Tally()
    bin = bin_at(s, av, index)
    p = get(s, bin + s.bk)
    most = get(s, av + s.av_system_mem) // s.minsize
    while p and p != bin and t.count <= most and not s.space.stop_signal:
        t.add(get(s, p + s.word))
        p = get(s, p + s.bk)
    return t


class ArenaCount:
    """One arena counted. fast: its fast bins, small to large; bins: bin 1 (unsorted) to 127; `caller` as in the C."""

    def __init__(self, s: State, av: int, caller: str) -> None:
        self.fast = [tally_fastbin(s, av, index, caller) for index in range(0 if s.no_fastbins else s.nfastbins)]
        self.bins = [tally_bin(s, av, index) for index in range(1, NBINS)]
        self.is_main = av == s.main_arena
        self.top = chunk_size(s, get(s, av + s.av_top))
        self.system = get(s, av + s.av_system_mem)
        self.max_system = get(s, av + s.av_max_system_mem)
        self.heap_bytes = self.heap_writable = self.heaps = 0
        if not self.is_main:
            self.count_heaps(s, get(s, av + s.av_top) & ~(s.heap_max - 1))

    def count_heaps(self, s: State, heap: int) -> None:
        """Follow the arena's heaps from the last to the first."""
        while heap and not s.space.stop_signal:
            self.heap_bytes += get(s, heap + s.heap_size)
            self.heap_writable += get(s, heap + s.heap_mprotect_size)
            self.heaps += 1
            heap = get(s, heap + s.heap_prev)

    @property
    def free_bytes(self) -> int:
        """Bytes of the top and of all free chunks."""
        return self.top + sum(t.bytes for t in self.fast) + sum(t.bytes for t in self.bins)


def arenas(s: Malloc) -> list[int]:
    """Every arena in the order of their ring, the main one first."""
    s.prepare()
    found = [s.main_arena]
    av = get(s, s.main_arena + s.av_next)
    while av and av != s.main_arena and not s.space.stop_signal and len(found) <= s.narenas:
        found.append(av)
        av = get(s, av + s.av_next)
    return found


def mallinfo2(s: Malloc) -> dict[str, int]:
    """mallinfo2(3), field by field."""
    info = dict.fromkeys(FIELDS, 0)
    for av in arenas(s):
        c = ArenaCount(s, av, "int_mallinfo")
        info["arena"] += c.system
        info["ordblks"] += 1 + sum(t.count for t in c.bins)
        info["smblks"] += sum(t.count for t in c.fast)
        info["fsmblks"] += sum(t.bytes for t in c.fast)
        info["fordblks"] += c.free_bytes
        info["uordblks"] += c.system - c.free_bytes
        if c.is_main:
            info["hblks"], info["hblkhd"], info["keepcost"] = s.n_mmaps, s.mmapped_mem, c.top
    return info


def mallinfo(s: Malloc) -> dict[str, int]:
    """mallinfo(3): mallinfo2's numbers as C's int keeps them, wrapping at 2 GiB."""
    return {name: (value + (1 << 31) & UNSIGNED) - (1 << 31) for name, value in mallinfo2(s).items()}


def malloc_stats(s: Malloc) -> str:
    """What malloc_stats(3) writes to standard error; its sums are C's unsigned int, wrapping at 4 GiB."""
    system = in_use = s.mmapped_mem
    text = ""
    for number, av in enumerate(arenas(s)):
        c = ArenaCount(s, av, "int_mallinfo")
        used = c.system - c.free_bytes
        text += f"Arena {number}:\n" + _two_lines(c.system, used)
        system += c.system
        in_use += used
    return text + (
        "Total (incl. mmap):\n"
        + _two_lines(system, in_use)
        + f"max mmap regions = {s.max_n_mmaps & UNSIGNED:10}\nmax mmap bytes   = {s.max_mmapped_mem:10}\n"
    )


def _two_lines(system: int, in_use: int) -> str:
    return f"system bytes     = {system & UNSIGNED:10}\nin use bytes     = {in_use & UNSIGNED:10}\n"


def malloc_info(s: Malloc) -> str:
    """The XML that malloc_info(3) writes for options 0."""
    counts = [ArenaCount(s, av, "__malloc_info") for av in arenas(s)]
    text = '<malloc version="1">\n' + "".join(_heap(number, c) for number, c in enumerate(counts))
    if not s.no_fastbins:
        text += _total("fast", *_fast(counts))
    text += _total("rest", *_rest(counts)) + _total("mmap", s.n_mmaps, s.mmapped_mem)
    text += _system(counts)
    spaces = [(c.system, c.system) if c.is_main else (c.heap_bytes, c.heap_writable) for c in counts]
    return text + _aspace(sum(size for size, _ in spaces), sum(writable for _, writable in spaces)) + "</malloc>\n"


def _heap(number: int, c: ArenaCount) -> str:
    text = f'<heap nr="{number}">\n<sizes>\n'
    for t in c.fast:
        if t.count:
            text += _size("size", t.largest - ALIGN_MASK, t.largest, t.count * t.largest, t.count)
    for t in c.bins[1:]:
        if t.count:
            text += _size("size", t.smallest, t.largest, t.words, t.count)
    unsorted = c.bins[0]
    if unsorted.count:
        text += _size("unsorted", unsorted.smallest, unsorted.largest, unsorted.words, unsorted.count)
    text += "</sizes>\n"
    if c.fast:
        text += _total("fast", *_fast([c]))
    text += _total("rest", *_rest([c])) + _system([c])
    if c.is_main:
        text += _aspace(c.system, c.system)
    else:
        text += _aspace(c.heap_bytes, c.heap_writable) + f'<aspace type="subheaps" size="{c.heaps}"/>\n'
    return text + "</heap>\n"


def _fast(counts: list[ArenaCount]) -> tuple[int, int]:
    return sum(t.count for c in counts for t in c.fast), sum(t.bytes for c in counts for t in c.fast)


def _rest(counts: list[ArenaCount]) -> tuple[int, int]:
    number = sum(1 + sum(t.count for t in c.bins) for c in counts)
    return number, sum(c.top + sum(t.words for t in c.bins) for c in counts)


def _size(tag: str, smallest: int, largest: int, total: int, count: int) -> str:
    return f'  <{tag} from="{smallest}" to="{largest}" total="{total}" count="{count}"/>\n'


def _total(kind: str, count: int, size: int) -> str:
    return f'<total type="{kind}" count="{count}" size="{size}"/>\n'


def _system(counts: list[ArenaCount]) -> str:
    now, most = sum(c.system for c in counts), sum(c.max_system for c in counts)
    return f'<system type="current" size="{now}"/>\n<system type="max" size="{most}"/>\n'


def _aspace(size: int, writable: int) -> str:
    return f'<aspace type="total" size="{size}"/>\n<aspace type="mprotect" size="{writable}"/>\n'
