# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""McheckMalloc: the allocator of a program that calls mcheck(3) before its first malloc, or is linked with -lmcheck.

Every block lies between a header and a byte behind its last one, and all blocks are in a list. A word is four or eight
bytes; with four, the header has two more at its end, so that blocks stay aligned.

    header, 6 words                                       block                          tail
    size | magic | prev | next | block | magic2           0x93 when new, 0x95 when freed  0xd7

    magic ^ (prev + next)   0xfedabeeb in a block, 0xd8675309 in a freed one
    magic2 ^ block          0xfedabeeb; `block` is what the allocator gave, which for memalign begins earlier

free, realloc and mprobe look at the block they are given, mcheck_pedantic's mode at all blocks in every call. What is
damaged ends the process with one of MESSAGES, or, where the program has given mcheck a function, is told to that, and
the call goes on.

    up to 2.33   in the C library, by its hooks
    from 2.34    in libc_malloc_debug.so, which has to be preloaded ("mcheck: Wean away from malloc hooks [BZ #23489]",
                 c142eb253f); without it mcheck does nothing and returns -1

What glibc does besides, in every release: mcheck_check_all turns pedantic mode on; realloc of an aligned block whose
header is not where the allocator's block begins ends in "realloc(): invalid pointer"; a block that realloc could not
enlarge is out of the list from then on; up to 2.33 a thread that ends with a thread cache ends the process, as its
chunks have no headers. Source: malloc/mcheck-impl.c; malloc/mcheck.c before 2.34.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cython

from memtwin.libc.debug import CheckedMalloc
from memtwin.libc.malloc import Malloc

if not cython.compiled:
    from memtwin.libc.state import ALIGN_MASK, ALIGNMENT, get, put
    from memtwin.memory import load_u8, store_u8

    MAGIC_WORD, MAGIC_FREE, MAGIC_BYTE = 0xFEDABEEB, 0xD8675309, 0xD7
    NEW_BYTE, FREED_BYTE = 0x93, 0x95
    OK, FREE, HEAD, TAIL = 0, 1, 2, 3

MCHECK_DISABLED, MCHECK_OK, MCHECK_FREE, MCHECK_HEAD, MCHECK_TAIL = range(-1, 4)
MESSAGES = {
    MCHECK_FREE: "block freed twice",
    MCHECK_HEAD: "memory clobbered before allocated block",
    MCHECK_TAIL: "memory clobbered past end of allocated block",
}


class McheckMalloc(CheckedMalloc):
    """See the module's text. Arguments as CheckedMalloc's.

    used: mcheck is on. pedantic: every call looks at all blocks. root: the header of the newest block, 0 for none.
    handler: what the program has given mcheck in place of abort.
    """

    def __init__(self, *arguments: Any, **more: Any) -> None:
        CheckedMalloc.__init__(self, *arguments, **more)
        self.used = self.pedantic = self.below = False
        self.root = 0
        self.handler: Callable[[int], None] | None = None
        self.fields = (6 * self.word + ALIGN_MASK) & ~ALIGN_MASK

    def adopt(self, other: Malloc) -> None:
        """See Malloc."""
        CheckedMalloc.adopt(self, other)
        was = other
        assert isinstance(was, McheckMalloc)
        self.used, self.pedantic, self.root, self.handler = was.used, was.pedantic, was.root, was.handler

    # mcheck(3)

    def mcheck(self, handler: Callable[[int], None] | None = None, pedantic: bool = False) -> int:
        """mcheck(3), or mcheck_pedantic(3): 0, or -1 after the first call of another kind or without the library.

        handler: is called with MCHECK_FREE, MCHECK_HEAD or MCHECK_TAIL; may not raise. By default the process aborts.
        """
        if self.mcheck_by_hooks:
            self.handler = handler
            if not self.started and not self.used:
                CheckedMalloc.free(self, CheckedMalloc.malloc(self, 0))
                self.used = True
            self.pedantic = self.pedantic or (pedantic and self.used)
            return 0 if self.used else -1
        if not self.preloaded:
            return -1
        self.handler = handler
        if self.initialized:
            return -1
        CheckedMalloc.free(self, CheckedMalloc.malloc(self, 0))
        self.used = True
        self.pedantic = pedantic
        return 0

    def mprobe(self, mem: int) -> int:
        """mprobe(3): MCHECK_OK or what is wrong with a block; MCHECK_DISABLED without mcheck.

        Of 0 it looks at all blocks and says MCHECK_OK; up to 2.33 that is an illegal access.
        """
        if not self.used:
            return MCHECK_DISABLED
        if mem == 0 and not self.mcheck_by_hooks:
            self.look_at_all()
            return MCHECK_OK
        return self.look_at((mem - self.fields) & self.word_mask)

    def mcheck_check_all(self) -> None:
        """mcheck_check_all(3): looks at all blocks, and turns pedantic mode on."""
        if self.used or self.mcheck_by_hooks:
            self.look_at_all()

    # looking

    def stopped(self) -> bool:
        """Whether the process ends with this call."""
        return self.dead or self.space.stop_signal != 0

    def look_at(self, h: int) -> int:
        """checkhdr: the state of the block with the header `h`; what is wrong is told."""
        status = self.status_of(h)
        if self.stopped() or status == OK:
            return OK
        if self.handler is None:
            self.die(MESSAGES[status])
        else:
            self.handler(status)
        return status

    def status_of(self, h: int) -> int:
        """What a header and the byte behind its block say."""
        key = get(self, h + self.word) ^ (
            (get(self, h + 2 * self.word) + get(self, h + 3 * self.word)) & self.word_mask
        )
        if key == MAGIC_FREE:
            return FREE
        if key != MAGIC_WORD:
            return HEAD
        if load_u8(self.space, (h + self.fields + get(self, h)) & self.word_mask) != MAGIC_BYTE:
            return TAIL
        return OK if get(self, h + 5 * self.word) ^ get(self, h + 4 * self.word) == MAGIC_WORD else HEAD

    def look_at_all(self) -> None:
        """All blocks of the list."""
        h = self.root
        self.pedantic = False
        while h and not self.stopped():
            self.look_at(h)
            h = get(self, h + 3 * self.word)
        self.pedantic = True

    def begins(self) -> bool:
        """What every call does first: in pedantic mode a look at all blocks. False when that ends the process."""
        if self.pedantic:
            self.look_at_all()
        return not self.stopped()

    # the list

    def sign(self, h: int) -> None:
        """A header's magic word follows from its links."""
        links = (get(self, h + 2 * self.word) + get(self, h + 3 * self.word)) & self.word_mask
        put(self, h + self.word, MAGIC_WORD ^ links)

    def link(self, h: int) -> None:
        """The header becomes the first of the list."""
        after = self.root
        put(self, h + 2 * self.word, 0)
        put(self, h + 3 * self.word, after)
        self.root = h
        self.sign(h)
        if after:
            put(self, after + 2 * self.word, h)
            self.sign(after)

    def unlink(self, h: int) -> None:
        """The header leaves the list."""
        before = get(self, h + 2 * self.word)
        after = get(self, h + 3 * self.word)
        if after:
            put(self, after + 2 * self.word, before)
            self.sign(after)
        if before:
            put(self, before + 3 * self.word, after)
            self.sign(before)
        else:
            self.root = after

    def dress(self, block: int, lead: int, request: int, old_request: int) -> int:
        """Header, filling from `old_request` on and tail, the header ending `lead` bytes behind `block`; the user's
        pointer. A block of 0 stays 0."""
        if block == 0 or self.stopped():
            return 0
        mem = (block + lead) & self.word_mask
        h = (mem - self.fields) & self.word_mask
        put(self, h, request)
        self.link(h)
        put(self, h + 4 * self.word, block)
        put(self, h + 5 * self.word, block ^ MAGIC_WORD)
        store_u8(self.space, (mem + request) & self.word_mask, MAGIC_BYTE)
        if request > old_request and not self.stopped():
            self.space.clear(mem + old_request, NEW_BYTE, request - old_request)
        return mem

    # the entries

    def malloc(self, request: int) -> int:
        """malloc(3)."""
        if self.below or not self.used:
            return CheckedMalloc.malloc(self, request)
        if not self.begins():
            return 0
        if request > self.word_mask - self.fields - 1:
            return self.fail()
        return self.dress(self.plain_malloc(self.fields + request + 1), self.fields, request, 0)

    def calloc(self, count: int, size: int) -> int:
        """calloc(3): malloc, and zeros."""
        if self.below or not self.used:
            return CheckedMalloc.calloc(self, count, size)
        if size and count > self.word_mask // size:
            return self.fail()
        mem = self.malloc(count * size)
        if mem:
            self.space.clear(mem, 0, count * size)
        return mem

    def free(self, mem: int) -> None:
        """free(3): a damaged block, or a freed one, ends the process."""
        if self.below or not self.used:
            CheckedMalloc.free(self, mem)
            return
        if self.begins() and mem:
            mem = self.undress(mem)
        if not self.stopped():
            self.below = True
            CheckedMalloc.free(self, mem)
            self.below = False

    def undress(self, mem: int) -> int:
        """Look at a block, mark it as freed and take it off the list; the allocator's block."""
        h = (mem - self.fields) & self.word_mask
        self.look_at(h)
        if self.stopped():
            return 0
        put(self, h + self.word, MAGIC_FREE)
        put(self, h + 5 * self.word, MAGIC_FREE)
        self.unlink(h)
        put(self, h + 2 * self.word, 0)
        put(self, h + 3 * self.word, 0)
        if not self.stopped():
            self.space.clear(mem, FREED_BYTE, get(self, h))
        return get(self, h + 4 * self.word)

    def realloc(self, mem: int, request: int) -> int:
        """realloc(3)."""
        if self.below or not self.used:
            return CheckedMalloc.realloc(self, mem, request)
        if mem == 0 and not self.mcheck_by_hooks:
            return self.malloc(request)
        if request == 0:
            self.free(mem)
            return 0
        too_large = request > self.word_mask - self.fields - 1
        if too_large and not self.mcheck_by_hooks:  # the hooks look at all blocks before
            return self.fail()
        if not self.begins():
            return 0
        if too_large:
            return self.fail()
        if mem == 0:
            return self.dress(self.plain_malloc(self.fields + request + 1), self.fields, request, 0)
        return self.resize(mem, request)

    def resize(self, mem: int, request: int) -> int:
        """A block of another size; what it loses is filled. The header, not the allocator's block, is reallocated."""
        h = (mem - self.fields) & self.word_mask
        old_request = get(self, h)
        self.look_at(h)
        if self.stopped():
            return 0
        self.unlink(h)
        if request < old_request and not self.stopped():
            self.space.clear(mem + request, FREED_BYTE, old_request - request)
        if self.stopped():
            return 0
        self.below = True
        moved = CheckedMalloc.realloc(self, h, self.fields + request + 1)
        self.below = False
        return self.dress(moved, self.fields, request, old_request)

    def memalign(self, alignment: int, request: int) -> int:
        """memalign(3): the header lies in front of the aligned place, in room of a multiple of the alignment."""
        if self.below or not self.used:
            return CheckedMalloc.memalign(self, alignment, request)
        if alignment <= ALIGNMENT and not self.mcheck_by_hooks:
            return self.malloc(request)
        if not self.begins():
            return 0
        lead = (self.fields + alignment - 1) & -alignment & self.word_mask
        if request > self.word_mask - ((lead + 1) & self.word_mask):
            return self.fail()
        size = (lead + request + 1) & self.word_mask
        if alignment <= ALIGNMENT and not self.checking:
            block = self.malloc(size)  # the hook of malloc is still there
        else:
            self.below = True
            block = CheckedMalloc.memalign(self, alignment, size)
            self.below = False
        return self.dress(block, lead, request, 0)

    def thread_exit(self, tid: int) -> None:
        """See Malloc. Up to 2.33 what the thread has cached goes back through the hook, which finds no header there."""
        if self.used and self.mcheck_by_hooks:
            self.switch_thread(tid)
            self.flush_by_hook()
        CheckedMalloc.thread_exit(self, tid)

    def flush_by_hook(self) -> None:
        """tcache_thread_shutdown: the cached chunks and the cache are freed as if they were the program's blocks."""
        cache = self.tcache
        self.no_tcache = True
        self.set_tcache(0)
        for index in range(self.tcache_all_bins if cache else 0):
            entry = cache + self.tcache_entries + self.word * index
            e = get(self, entry)
            while e and not self.stopped():
                if e & ALIGN_MASK and self.link_mask:
                    self.die("tcache_thread_shutdown(): unaligned tcache chunk detected")
                    return
                put(self, entry, ((e >> 12) & self.link_mask) ^ get(self, e))
                self.free(e)
                e = get(self, entry)
        if cache and not self.stopped():
            self.free(cache)

    def plain_malloc(self, request: int) -> int:
        """The allocator's own block."""
        self.below = True
        block = CheckedMalloc.malloc(self, request)
        self.below = False
        return block

    def malloc_usable_size(self, mem: int) -> int:
        """malloc_usable_size(3): what was asked for, as an int; up to 2.33 the header's end is taken for a chunk's."""
        none = mem == 0 and not self.debug_size_of_none
        if self.below or not self.used or self.mcheck_size_unknown or none:
            return CheckedMalloc.malloc_usable_size(self, mem)
        request = get(self, (mem - self.fields) & self.word_mask) & 0xFFFFFFFF
        return request if request < 1 << 31 else (request - (1 << 32)) & self.word_mask
