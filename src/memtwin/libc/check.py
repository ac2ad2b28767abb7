# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""validate_heap: whether everything that the allocator keeps in the process's memory fits together.

A walk over all chunks of an arena notes where each begins, in two maps with a bit for every 16 bytes: one for chunks
in use, one for free ones. The lists are then followed, and each member takes its chunk's bit away: a list member that
is no chunk, is on two lists or is twice on one finds no bit, and a free chunk that is on no list leaves one behind.

    bins             links both ways, sizes of that bin, prev_size and in-use bit behind each chunk, the bit map
    large bins       from large to small, the first of each size on the ring of sizes and no other
    fast bins        in use by their bit, aligned, of the bin's size, have_fastchunks set
    thread caches    as many as counted, in use by their bit, aligned, of the bin's size, with the key
    arenas           the ring and its number, threads attached, top and its end, system_mem, the heaps' chain
    mapped chunks    their number and bytes; each of them, when the caller knows which there are

No address changes and no page is touched that the allocator has not written.
"""

from __future__ import annotations

from collections.abc import Iterable

import cython

from memtwin.errors import ValidationError
from memtwin.libc.malloc import Malloc
from memtwin.memory import address_of

if not cython.compiled:
    from memtwin.hostmem import load8, store8
    from memtwin.libc.bins import bin_at, bin_index, chunk_size, contiguous, fast_bin, misaligned
    from memtwin.libc.state import (
        ALIGN_MASK,
        AV_HAVE_FASTCHUNKS,
        IS_MMAPPED,
        NBINS,
        NON_MAIN_ARENA,
        PREV_INUSE,
        SIZE_BITS,
        get,
        get16,
        get32,
    )
    from memtwin.libc.tcache import any_tcache_index


class Piece:
    """Memory of an arena without a gap, from its first chunk to its end, and its two maps."""

    def __init__(self, start: int, end: int) -> None:
        self.start, self.end = start, end
        room = (end - start >> 7) + 1
        self.rooms = bytearray(room), bytearray(room)
        self.in_use, self.free = address_of(self.rooms[0]), address_of(self.rooms[1])


class HeapCheck:
    """One look at the whole heap. `problem` is the first thing that does not fit, None when all does.

    chunks, free_chunks, cached: how many there are, tops and fence posts left out; bytes: all of them together.
    """

    def __init__(self, malloc: Malloc) -> None:
        self.s = malloc
        self.pieces: list[Piece] = []
        self.last = Piece(0, 0)
        self.problem: str | None = None
        self.chunks = self.free_chunks = self.free_listed = self.cached = self.bytes = 0

    def run(self) -> None:
        """Look at everything, until something does not fit."""
        s = self.s
        if not s.started:
            return
        av = s.main_arena
        seen = 0
        while self.problem is None and not s.space.stop_signal:
            seen += 1
            self.check_arena(av)
            av = get(s, av + s.av_next)
            if av == s.main_arena:
                break
            if seen > s.narenas:
                self.broken(av, "the ring of arenas does not come back to main_arena")
        if self.problem is None and seen != s.narenas:
            self.broken(av, f"{seen} arenas are on the ring, {s.narenas} were made")
        for cache in caches(s):
            self.check_tcache(cache)
        if self.problem is None and self.free_listed != self.free_chunks:
            self.broken(self.first_unlisted(), "a free chunk is in no bin")
        if s.space.stop_signal:
            self.broken(s.space.stop_address, "a link or size leads to memory that is not there")

    def broken(self, address: int, what: str) -> None:
        """Note a problem, if it is the first."""
        if self.problem is None:
            self.problem = f"{address:#x}: {what}"

    def first_unlisted(self) -> int:
        """The lowest free chunk whose bit nothing has taken."""
        for piece in self.pieces:
            for at, byte in enumerate(piece.rooms[1]):
                if byte:
                    low = (byte & -byte).bit_length() - 1
                    return int(piece.start + (8 * at + low) * 16)
        return 0

    # arenas

    def check_arena(self, av: int) -> None:
        """An arena's pieces, lists and numbers."""
        s = self.s
        attached = get(s, av + s.av_attached)
        users = users_of(s, av)
        if attached != users:
            self.broken(av, f"{attached} threads are attached to the arena, {users} use it")
        if get(s, av + s.av_max_system_mem) < get(s, av + s.av_system_mem):
            self.broken(av, "max_system_mem is less than system_mem")
        if av == s.main_arena:
            self.check_main_pieces(av)
        else:
            self.check_heaps(av)
        if self.problem is None:
            self.check_bins(av)
        if self.problem is None:
            self.check_fastbins(av)

    def check_main_pieces(self, av: int) -> None:
        """The main arena: what the break has moved over, in pieces where that was not all."""
        s = self.s
        top = get(s, av + s.av_top)
        if top == bin_at(s, av, 1):
            if get(s, av + s.av_system_mem):
                self.broken(av, "the arena has memory, but no top")
            return
        end = top + chunk_size(s, top)
        for start in s.pieces:
            stop = self.walk(av, start, end if start == s.pieces[len(s.pieces) - 1] else 0, top)
            if self.problem is not None:
                return
            if stop == top:
                self.check_top(av, end)
        if contiguous(s, av) and self.problem is None and get(s, av + s.av_system_mem) != end - s.sbrk_base:
            self.broken(av, f"system_mem is {get(s, av + s.av_system_mem)}, the heap has {end - s.sbrk_base} bytes")

    def check_heaps(self, av: int) -> None:
        """A thread's arena: its heaps from the last, where the top is, to the first, where the arena itself is."""
        s = self.s
        top = get(s, av + s.av_top)
        heap = top & ~(s.heap_max - 1)
        total = 0
        while heap and self.problem is None and not s.space.stop_signal:
            size = get(s, heap + s.heap_size)
            total += size
            if get(s, heap) != av:
                self.broken(heap, "the heap is another arena's")
            if size > get(s, heap + s.heap_mprotect_size) or get(s, heap + s.heap_mprotect_size) > s.heap_max:
                self.broken(heap, f"the heap's size {size} is more than is writable or reserved")
            start = heap + s.heap_info
            if av == start:
                start = ((av + s.av_size + s.header + ALIGN_MASK) & ~ALIGN_MASK) - s.header
            end = heap + size
            if self.problem is None and self.walk(av, start, end, top) == top:
                self.check_top(av, end)
            if av == heap + s.heap_info:
                break
            heap = get(s, heap + s.heap_prev)
        if self.problem is None and total != get(s, av + s.av_system_mem):
            self.broken(av, f"system_mem is {get(s, av + s.av_system_mem)}, the heaps have {total} bytes")

    def check_top(self, av: int, end: int) -> None:
        """The top: in use below it, large enough, and up to the end of the piece."""
        s = self.s
        top = get(s, av + s.av_top)
        word = get(s, top + s.word)
        if not word & PREV_INUSE or word & (IS_MMAPPED | NON_MAIN_ARENA):
            self.broken(top, f"the top's flags are {word & SIZE_BITS}")
        if word & ~SIZE_BITS < s.minsize or top + (word & ~SIZE_BITS) != end:
            self.broken(top, "the top does not end where the memory does")

    # chunks

    def walk(self, av: int, start: int, end: int, top: int) -> int:
        """All chunks of a piece; where they end: at the top, or at the fence posts.

        end: of the piece; 0 when only its fence posts tell.
        """
        s = self.s
        if end == 0:
            end = fence_of(s, start)
            if end == 0:
                self.broken(start, "no fence post ends this piece of the heap")
                return start
        piece = Piece(start, end)
        self.pieces.append(piece)
        p = start
        word = get(s, p + s.word)
        while p != top:
            size = word & ~SIZE_BITS
            if size <= s.header:
                if p + 2 * s.header < end and size == 0:
                    self.broken(p, f"a chunk of {size} bytes")
                return p
            following = p + size
            if following > end or size & ALIGN_MASK or following < p:
                self.broken(p, f"a chunk of {size} bytes does not fit into its memory")
                return p
            next_word = get(s, following + s.word) if following < end else 0
            if not self.check_chunk(av, p, word, following, next_word) or s.space.stop_signal:
                return p
            room = piece.in_use if next_word & PREV_INUSE else piece.free
            bit = (p - start) >> 4
            store8(room + (bit >> 3), load8(room + (bit >> 3)) | 1 << (bit & 7))
            self.chunks += 1
            self.bytes += size
            p = following
            word = next_word
        return p

    def check_chunk(self, av: int, p: int, word: int, following: int, next_word: int) -> bool:
        """One chunk's flags and what its neighbour says of it."""
        s = self.s
        if misaligned(s, p) or word & IS_MMAPPED:
            self.broken(p, f"a chunk of the arena with the size word {word:#x}")
            return False
        if next_word & PREV_INUSE:
            return True
        self.free_chunks += 1
        if following == get(s, av + s.av_top):
            self.broken(p, "a free chunk below the top is not part of it")
        elif get(s, following) != word & ~SIZE_BITS:
            self.broken(p, f"the free chunk's size is {word & ~SIZE_BITS}, prev_size behind it {get(s, following)}")
        elif not word & PREV_INUSE:
            self.broken(p, "two free chunks lie side by side")
        else:
            return True
        return False

    def piece_of(self, p: int) -> Piece:
        """The piece that a chunk lies in; an empty one when there is none."""
        if self.last.start <= p < self.last.end:
            return self.last
        for piece in self.pieces:
            if piece.start <= p < piece.end:
                self.last = piece
                return piece
        return Piece(0, 0)

    def take(self, p: int, free: bool) -> bool:
        """Take away the bit of a list's member; False when it has none."""
        piece = self.piece_of(p)
        if piece.end == 0 or misaligned(self.s, p):
            return False
        bit = (p - piece.start) >> 4
        at = (piece.free if free else piece.in_use) + (bit >> 3)
        byte = load8(at)
        if not byte & 1 << (bit & 7):
            return False
        store8(at, byte & ~(1 << (bit & 7)))
        return True

    # lists

    def check_bins(self, av: int) -> None:
        """Every bin, and the bit map."""
        s = self.s
        for index in range(1, NBINS):
            count = self.check_list(av, index)
            self.free_listed += count
            marked = get32(s, av + s.av_binmap + 4 * (index >> 5)) >> (index & 31) & 1
            if index > 1 and count and not marked:
                self.broken(bin_at(s, av, index), f"bin {index} has chunks, but not its bit in the map")
            if index >= 64 and count and self.problem is None:
                self.check_sorted(av, index)
            if self.problem is not None:
                return

    def check_list(self, av: int, index: int) -> int:
        """One bin's list, from its first chunk on; how many chunks it has."""
        s = self.s
        bin = bin_at(s, av, index)
        count = 0
        before = bin
        p = get(s, bin + s.header)
        while p != bin:
            if not self.take(p, True):
                self.broken(p, f"bin {index} lists it, but it is no free chunk, or listed twice")
                return count
            size = chunk_size(s, p)
            if get(s, p + s.bk) != before:
                self.broken(p, f"its bk is {get(s, p + s.bk):#x}, not the chunk before it in bin {index}")
                return count
            if index > 1 and bin_index(s, size) != index:
                self.broken(p, f"a chunk of {size} bytes in bin {index}")
                return count
            count += 1
            before = p
            p = get(s, p + s.header)
        if get(s, bin + s.bk) != before:
            self.broken(bin, f"bin {index} does not end where its bk says")
        return count

    def check_sorted(self, av: int, index: int) -> bool:
        """A large bin that is not empty, its links known to be good: the order, and the ring of sizes."""
        s = self.s
        bin = bin_at(s, av, index)
        first = get(s, bin + s.header)
        head = first
        p = get(s, first + s.header)
        while p != bin:
            size = chunk_size(s, p)
            if size > chunk_size(s, head):
                self.broken(p, f"bin {index} is not sorted from large to small")
                return False
            if size == chunk_size(s, head):
                if get(s, p + s.fd_nextsize):
                    self.broken(p, "on the ring of sizes, though not the first of its size")
                    return False
            else:
                if get(s, head + s.fd_nextsize) != p or get(s, p + s.bk_nextsize) != head:
                    self.broken(p, "the ring of sizes is broken before it")
                    return False
                head = p
            p = get(s, p + s.header)
        if get(s, head + s.fd_nextsize) != first or get(s, first + s.bk_nextsize) != head:
            self.broken(head, "the ring of sizes does not close")
            return False
        return True

    def check_fastbins(self, av: int) -> None:
        """Every fast bin."""
        s = self.s
        if s.no_fastbins:
            return
        for index in range(s.nfastbins):
            p = get(s, av + s.av_fastbins + s.word * index)
            if p and not get32(s, av + AV_HAVE_FASTCHUNKS):
                self.broken(av, "have_fastchunks is not set, though there are some")
            while p and self.problem is None:
                if not self.take(p, False):
                    self.broken(p, f"fast bin {index} lists it, but it is no chunk in use, or listed twice")
                    return
                if fast_bin(s, av, chunk_size(s, p)) != av + s.av_fastbins + s.word * index:
                    self.broken(p, f"a chunk of {chunk_size(s, p)} bytes in fast bin {index}")
                    return
                self.cached += 1
                p = (((p + s.header) >> 12) & s.link_mask) ^ get(s, p + s.header)

    def check_tcache(self, cache: int) -> None:
        """One thread's cache: itself a chunk in use, in the heap or mapped, and its bins."""
        s = self.s
        if self.problem is not None:
            return
        if not get(s, cache - s.word) & IS_MMAPPED and not self.take(cache - s.header, False):
            self.broken(cache, "a thread's cache is no chunk in use")
        for index in range(s.tcache_all_bins):
            e = get(s, cache + s.tcache_entries + s.word * index)
            left = get16(s, cache + 2 * index)
            if s.tcache_counts_down:
                left = s.tcache_count - left
            while e and self.problem is None:
                if left == 0:
                    self.broken(e, f"bin {index} of the cache has more chunks than it counts")
                elif not self.mapped_in_cache(e) and not self.take(e - s.header, False):
                    self.broken(e, f"bin {index} of a cache lists it, but it is no chunk in use, or listed twice")
                elif any_tcache_index(s, chunk_size(s, e - s.header)) != index:
                    self.broken(e, f"a chunk of {chunk_size(s, e - s.header)} bytes in bin {index} of a cache")
                elif get(s, e + s.word) != (s.tcache_key if s.random_tcache_key else cache):
                    self.broken(e, "a cached chunk without the key")
                left -= 1
                self.cached += 1
                e = ((e >> 12) & s.link_mask) ^ get(s, e)
            if left and self.problem is None:
                self.broken(cache, f"bin {index} of the cache counts {left} chunks more than it has")

    def mapped_in_cache(self, e: int) -> bool:
        """Whether a cached block has a mapping of its own, which since 2.43 does not keep it out of the cache."""
        s = self.s
        return bool(s.mapped_like_heap and get(s, e - s.word) & IS_MMAPPED)

    def check_mapped(self, mapped: Iterable[int]) -> None:
        """The mapped chunks, given by their user pointers, against mp_'s numbers."""
        s = self.s
        count = total = 0
        for mem in mapped:
            word = get(s, mem - s.word)
            if not word & IS_MMAPPED:
                continue
            count += 1
            offset = get(s, mem - s.header)
            size = (word & ~SIZE_BITS) + offset + (s.header if s.mapped_like_heap else 0)
            total += size
            if (size | (mem - s.header - offset)) & (s.page_size - 1):
                self.broken(mem - s.header, f"a mapped chunk of {size} bytes that are not whole pages")
        if (count, total) != (s.n_mmaps, s.mmapped_mem):
            self.broken(s.mp, f"{count} mapped chunks of {total} bytes, but {s.n_mmaps} of {s.mmapped_mem} are counted")


def fence_of(s: Malloc, start: int) -> int:
    """Where the fence posts of a piece end, that begins at `start`; 0 when none is met."""
    p = start
    while not s.space.stop_signal:
        size = chunk_size(s, p)
        if size == s.header:
            while chunk_size(s, p) == s.header and not s.space.stop_signal:
                p += s.header
                if chunk_size(s, p) == s.header and get(s, p + s.word) & PREV_INUSE:
                    return int(p + s.header)
            return 0
        if size < s.minsize:
            return 0
        p += size
    return 0


def caches(s: Malloc) -> list[int]:
    """The caches of all threads that have one."""
    others = [thread.tcache for thread in s.threads.others(s.tid)]
    return [cache for cache in (s.tcache, *others) if cache]


def users_of(s: Malloc, av: int) -> int:
    """How many threads have this arena for theirs."""
    others = [thread.arena for thread in s.threads.others(s.tid)]
    return [s.thread_arena, *others].count(av)


def validate_heap(malloc: Malloc, mapped: Iterable[int] | None = None) -> HeapCheck:
    """Check every structure of the heap; what was counted on the way.

    mapped: the user pointers of all blocks that live (those without a mapping of their own are passed over); None:
    mp_'s numbers of mapped chunks are not checked. ValidationError: the first thing that does not fit, and where.
    A process that has aborted, or stopped at an illegal access, has no heap to be checked: ValidationError says so.
    """
    if malloc.dead or malloc.space.stop_signal:
        raise ValidationError(f"the process has ended: {malloc.abort or 'illegal access'}")
    check = HeapCheck(malloc)
    check.run()
    if mapped is not None:
        check.check_mapped(mapped)
    if check.problem is not None:
        raise ValidationError(check.problem)
    return check
