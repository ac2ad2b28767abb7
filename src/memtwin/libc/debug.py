# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""CheckedMalloc: the allocator under MALLOC_CHECK_ (glibc.malloc.check), as glibc itself checks its callers.

Every block has one byte more than was asked for, the magic byte, made of its address. From the block's last byte down
to it leads a chain of lengths, so that it is found again whatever was asked for:

    asked for 5, magic byte 0xa9 at + 5        0   1   2   3   4   5   6   7   8  …  23
                                             | h | e | l | l | o |a9 | 0x12 bytes up |12 |

free and realloc follow the chain. A byte that does not lead to the magic byte means that the program wrote past its
block, or that this is none: "free(): invalid pointer". Before memory is taken from it the top is checked: "malloc: top
chunk is corrupt". All threads use the main arena, and nothing is cached.

    up to 2.25   the value is a set of bits (`classic`): 1 prints a message, 2 aborts, 5 prints a short message; with
                 neither, the call is ignored and the program goes on; M_CHECK_ACTION sets the same bits
    2.26 … 2.33  every value but 0 prints and aborts ("malloc: Remove check_action variable", ac3ed168d0)
    from 2.34    the same, but only in a process that preloads libc_malloc_debug.so ("Move malloc hooks into a compat
                 DSO", 2d2d9f2b48). That library has an allocator of its own, compiled from the same source without
                 thread caches (USE_TCACHE is 0). Preloaded without MALLOC_CHECK_ it passes calls on, and makes one
                 malloc and free of its own before the first. Its aligned_alloc fails without an errno for what is no
                 power of two, since 2.38 (strict_aligned_alloc of release.py), and its pvalloc has never been mended.

Source: malloc/malloc-check.c, malloc/malloc-debug.c; malloc/hooks.c before 2.34.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cython

from memtwin.errors import UserError
from memtwin.kernel.addrspace import AddressSpace
from memtwin.libc.malloc import Malloc
from memtwin.libc.tunables import minor_of

if not cython.compiled:
    from memtwin.libc.aligned import int_memalign
    from memtwin.libc.arena import arenas_after_fork
    from memtwin.libc.bins import bin_at, chunk_size, contiguous, request_size
    from memtwin.libc.give import free_rest, munmap_chunk
    from memtwin.libc.more import mremap_chunk
    from memtwin.libc.state import (
        ALIGN_MASK,
        ALIGNMENT,
        EINVAL,
        IS_MMAPPED,
        PREV_INUSE,
        get,
        put,
    )
    from memtwin.libc.take import int_malloc, int_realloc
    from memtwin.memory import load_u8, store_u8

PRINT, ABORT = 1, 2


def magic_byte(p: int) -> int:
    """The byte that ends a block of the chunk at `p`; never 1, which a chain of lengths needs."""
    magic = ((p >> 3) ^ (p >> 11)) & 255
    return 2 if magic == 1 else magic


class CheckedMalloc(Malloc):
    """See the module's text. Arguments as Malloc's; `tunables` has "check".

    preloaded: libc_malloc_debug.so is; needed from 2.34 on. classic: as up to 2.25, with the bits of `check`.
    messages: what was printed without an abort, in the words of 2.25. UserError: checking asked for in a release that
    needs the library preloaded, without it.
    """

    def __init__(
        self,
        space: AddressSpace,
        release: str = "2.36",
        tunables: Mapping[str, int] | None = None,
        data_model: str = "LP64",
        cpus: int = 1,
        main_arena: int = 0,
        mp: int = 0,
        preloaded: bool = False,
        classic: bool = False,
        inherited: bool = False,
    ) -> None:
        Malloc.__init__(self, space, release, tunables, data_model, cpus, main_arena, mp, inherited)
        check = (tunables or {}).get("check", 0)
        if check and minor_of(release) >= 34 and not preloaded and not classic:
            raise UserError(f"check={check}: glibc {release} checks only with libc_malloc_debug.so preloaded")
        self.checking = check != 0 or classic
        self.preloaded = preloaded
        self.initialized = False
        self.classic = classic
        self.action = check if classic else PRINT | ABORT
        self.messages: list[str] = []
        if preloaded and self.checking:
            self.tcache_count = 0
            self.names_mappings = self.debug_names_mappings

    def first_call(self) -> None:
        """Before the first call of any but free: the allocator is ready; the debug library tries it."""
        if not self.started:
            self.start()
        if not self.initialized:
            self.initialized = True
            if self.preloaded and not self.checking:
                Malloc.free(self, Malloc.malloc(self, 0))

    def fork(self, space: AddressSpace) -> Malloc:
        """See Malloc."""
        tunables = {"check": self.action} if self.checking else {}
        newborn = type(self)(space, self.release, tunables, self.data_model, self.cpus, self.main_arena, self.mp,
                             self.preloaded, self.classic, inherited=True)  # fmt: skip
        child: CheckedMalloc = cython.cast(CheckedMalloc, newborn)
        child.adopt(self)
        if child.started:
            arenas_after_fork(child)
        return child

    def adopt(self, other: Malloc) -> None:
        """See Malloc."""
        Malloc.adopt(self, other)
        was = other
        assert isinstance(was, CheckedMalloc)
        self.initialized, self.action, self.messages = was.initialized, was.action, list(was.messages)

    # complaints

    def complain(self, message: str, mem: int) -> bool:
        """malloc_printerr: True when the process goes on."""
        if not self.classic:
            self.die(message)
            return False
        if self.action & (PRINT | 4) == PRINT | 4:
            self.messages.append(message)
        elif self.action & PRINT:
            self.messages.append(f"*** Error in `program': {message}: {mem:#018x} ***")
        if self.action & ABORT:
            self.die(message if self.action & PRINT else "")
        return not self.dead

    def goes_on(self, mem: int) -> bool:
        """After a call: a failed check of the allocator itself, for which the action does not abort, is told only."""
        if self.dead and self.classic and not self.action & ABORT:
            message = self.abort or ""
            self.dead = False
            self.abort = None
            return self.complain(message, mem)
        return not self.dead

    # the magic byte

    def usable(self, p: int) -> int:
        """Bytes of a chunk that a program may use."""
        mapped = get(self, p + self.word) & IS_MMAPPED and not self.mapped_like_heap
        less = self.header if mapped else self.word
        return chunk_size(self, p) - less

    def mark(self, mem: int, request: int) -> int:
        """Put the magic byte and the chain of lengths behind a block's bytes; the block (0 stays 0)."""
        if mem == 0:
            return 0
        magic = magic_byte(mem - self.header)
        at = self.usable(mem - self.header) - 1
        while at > request:
            length = at - request
            if length > 255:
                length = 255
            if length == magic:
                length -= 1
            store_u8(self.space, mem + at, length)
            at -= length
        store_u8(self.space, mem + request, magic)
        return mem

    def mark_of(self, mem: int) -> int:
        """Address of a block's magic byte; 0 when the chain does not lead to it."""
        p = mem - self.header
        magic = magic_byte(p)
        at = self.header + self.usable(p) - 1
        while not self.space.stop_signal:
            length = load_u8(self.space, p + at)
            if length == magic:
                return p + at
            if length == 0 or at < length + self.header:
                return 0
            at -= length
        return 0

    def checked_mark(self, mem: int) -> int:
        """mem2chunk_check: the magic byte of a block about to be freed, turned over; 0 when it is no good block."""
        p = mem - self.header
        if mem & ALIGN_MASK:
            return 0
        sane = self.mapped_chunk_is_sane(p) if get(self, p + self.word) & IS_MMAPPED else self.heap_chunk_is_sane(p)
        at = self.mark_of(mem) if sane and not self.space.stop_signal else 0
        if at:
            store_u8(self.space, at, load_u8(self.space, at) ^ 255)
        return at

    def heap_chunk_is_sane(self, p: int) -> bool:
        """A chunk in use, inside the main arena, whose lower neighbour, if free, ends where it begins."""
        size = chunk_size(self, p)
        av = self.main_arena
        one_piece = contiguous(self, av)
        if one_piece and (p < self.sbrk_base or p + size >= self.sbrk_base + get(self, av + self.av_system_mem)):
            return False
        if size < self.minsize or size & ALIGN_MASK or not get(self, p + size + self.word) & PREV_INUSE:
            return False
        if get(self, p + self.word) & PREV_INUSE:
            return True
        below = get(self, p)
        if below & ALIGN_MASK or (one_piece and (below > p or p - below < self.sbrk_base)):
            return False
        return chunk_size(self, (p - below) & self.word_mask) == below

    def mapped_chunk_is_sane(self, p: int) -> bool:
        """A chunk at a place where mapped ones are, whose mapping is whole pages."""
        mask = self.page_size - 1
        offset = (p + self.header) & mask
        before = get(self, p)
        if self.marks_huge_mappings:
            before &= self.word_mask - 1
        length = before + chunk_size(self, p) + (self.header if self.mapped_like_heap else 0)
        if offset < 0x2000 and offset & (offset - 1):
            return False
        return not get(self, p + self.word) & PREV_INUSE and not (p - before) & mask and not length & mask

    # the top

    def top_is_sane(self) -> bool:
        """The top ends where the main arena's memory does."""
        av = self.main_arena
        top = get(self, av + self.av_top)
        if top == bin_at(self, av, 1):
            return True
        word = get(self, top + self.word)
        size = chunk_size(self, top)
        if word & IS_MMAPPED or size < self.minsize or not word & PREV_INUSE:
            return False
        return not contiguous(self, av) or top + size == self.sbrk_base + get(self, av + self.av_system_mem)

    def check_top(self) -> bool:
        """top_check: False when there is no good top to take memory from."""
        if self.top_is_sane():
            return True
        top = get(self, self.main_arena + self.av_top)
        return self.complain("malloc: top chunk is corrupt", top) and self.replace_top()

    def replace_top(self) -> bool:
        """Up to 2.25: a new top from the break, in place of a damaged one; False when the break does not move."""
        brk = self.sbrk(0)
        beyond = (brk + self.header) & ALIGN_MASK
        front = ALIGNMENT - beyond if beyond else 0
        size = front + self.top_pad + self.minsize
        size += self.page_size - ((brk + size) & (self.page_size - 1))
        new = self.sbrk(size)
        if new == 0:
            return False
        av = self.main_arena
        put(self, av + self.av_system_mem, new - self.sbrk_base + size)
        put(self, av + self.av_top, brk + front)
        put(self, brk + front + self.word, (size - front) | PREV_INUSE)
        return True

    # the entries

    def malloc(self, request: int) -> int:
        """malloc(3)."""
        self.first_call()
        if not self.checking:
            return Malloc.malloc(self, request)
        if request == self.word_mask:
            return self.fail()
        if not self.check_top():
            return 0
        mem = int_malloc(self, self.main_arena, request + 1)
        return self.mark(mem, request) if self.goes_on(0) else 0

    def calloc(self, count: int, size: int) -> int:
        """calloc(3): malloc, and zeros."""
        self.first_call()
        if not self.checking and not self.preloaded:
            return Malloc.calloc(self, count, size)
        if size and count > self.word_mask // size:
            return self.fail()
        mem = self.malloc(count * size)
        if mem:
            self.space.clear(mem, 0, count * size)
        return mem

    def free(self, mem: int) -> None:
        """free(3). What is no block, or was written past, ends the process."""
        if not self.checking:
            Malloc.free(self, mem)
            return
        if mem == 0:
            return
        error = self.errno
        p = mem - self.header
        if self.checked_mark(mem) == 0:
            self.complain("free(): invalid pointer", mem)
        elif get(self, p + self.word) & IS_MMAPPED:
            munmap_chunk(self, p)
        else:
            free_rest(self, self.main_arena, p)
        self.goes_on(mem)
        self.errno = error

    def realloc(self, mem: int, request: int) -> int:
        """realloc(3)."""
        self.first_call()
        if not self.checking:
            return Malloc.realloc(self, mem, request)
        if request == self.word_mask:
            return self.fail()
        if mem == 0:
            return self.malloc(request)
        if request == 0:
            self.free(mem)
            return 0
        at = self.checked_mark(mem)
        if at == 0:
            return self.malloc(request) if self.complain("realloc(): invalid pointer", mem) else 0
        new = self.resized(mem, request)
        if new == 0:
            store_u8(self.space, at, load_u8(self.space, at) ^ 255)
        return self.mark(new, request) if self.goes_on(mem) else 0

    def resized(self, mem: int, request: int) -> int:
        """The block with room for `request` and its magic byte; 0: no memory."""
        p = mem - self.header
        nb = request_size(self, request + 1)
        if nb == 0:
            return 0 if self.realloc_check_silent and not self.classic else self.fail()
        if get(self, p + self.word) & IS_MMAPPED:
            return self.resized_mapping(p, request, nb)
        if not self.check_top():
            return 0
        return int_realloc(self, self.main_arena, p, chunk_size(self, p), nb)

    def resized_mapping(self, p: int, request: int, nb: int) -> int:
        """A mapped chunk resized by the kernel, else copied."""
        size = chunk_size(self, p)
        moved = mremap_chunk(self, p, nb)
        if moved:
            return moved + self.header
        if self.usable(p) > request if self.mapped_like_heap else size - self.word >= nb:
            return p + self.header
        if self.dead or not self.check_top():
            return 0
        new = int_malloc(self, self.main_arena, request + 1)
        if new:
            self.space.move(new, p + self.header, self.usable(p))
            munmap_chunk(self, p)
        return new

    def memalign(self, alignment: int, request: int) -> int:
        """memalign(3)."""
        self.first_call()
        if not self.checking:
            return Malloc.memalign(self, alignment, request)
        if alignment <= ALIGNMENT:
            return self.malloc(request)
        if alignment > self.ptrdiff_max + 1:
            self.errno = EINVAL
            return 0
        if request > self.word_mask - alignment - self.minsize:
            return self.fail()
        power = self.minsize
        while power < alignment:
            power <<= 1
        if not self.check_top():
            return 0
        mem = int_memalign(self, self.main_arena, power, request + 1)
        return self.mark(mem, request) if self.goes_on(0) else 0

    def aligned_alloc(self, alignment: int, request: int) -> int:
        """aligned_alloc(3); the debug library's is memalign, and sets no errno for an alignment that it refuses."""
        if self.preloaded and self.strict_aligned_alloc and (alignment == 0 or alignment & (alignment - 1)):
            return 0
        if self.checking or self.preloaded:
            return self.memalign(alignment, request)
        return Malloc.aligned_alloc(self, alignment, request)

    def valloc(self, request: int) -> int:
        """valloc(3)."""
        return self.memalign(self.page_size, request)

    def pvalloc(self, request: int) -> int:
        """pvalloc(3). Rounds with a wrong mask: to pages, and up by one more byte for even sizes.

        Only checking shows it: the chunk is as large. 2.42 mended it in the C library (ba32fd7d04, "malloc: Cleanup
        _mid_memalign"), whose pvalloc a checked process does not reach; the debug library has its own, as it was.
        """
        mask = self.page_size - 1
        if request > self.word_mask - mask:
            return self.fail()
        rounded = (request + mask) & ~mask
        if not self.classic:
            rounded = (request + mask) & -mask & self.word_mask
        return self.memalign(self.page_size, rounded)

    def malloc_usable_size(self, mem: int) -> int:
        """malloc_usable_size(3): under checking exactly what was asked for."""
        if not self.checking or (mem == 0 and not (self.preloaded and self.debug_size_of_none)):
            return Malloc.malloc_usable_size(self, mem)
        at = self.mark_of(mem)
        if at == 0:
            self.complain("malloc_check_get_size: memory corruption", mem)
            return 0
        return at - mem

    def mallopt(self, parameter: int, value: int) -> int:
        """mallopt(3). Before the first call of another kind the debug library asks the C library's own allocator,
        which then serves no call: nothing changes."""
        if self.preloaded and self.checking and not self.initialized:
            too_large = not self.any_mmap_threshold and value & self.word_mask > self.heap_max // 2
            refused = not self.no_fastbins and not 0 <= value <= self.largest_max_fast
            return 0 if (parameter == -3 and too_large) or (parameter == 1 and refused) else 1
        return Malloc.mallopt(self, parameter, value)

    def set_parameter(self, parameter: int, value: int) -> int:
        """mallopt's; M_CHECK_ACTION (-5) has a meaning up to 2.25 alone."""
        if parameter == -5 and self.classic:
            self.action = value
        return Malloc.set_parameter(self, parameter, value)


def new_malloc(
    space: AddressSpace, release: str = "2.36", tunables: Mapping[str, int] | None = None, preloaded: bool = False,
    classic: bool = False, mcheck: bool = False, **more: Any,
) -> Malloc:  # fmt: skip
    """The allocator that a process has: Malloc, or CheckedMalloc where it checks or the debug library is preloaded.

    mcheck: it can be asked for mcheck (mcheck.py). more: Malloc's further arguments. From 2.34 on the tunable "check"
    means nothing without the library.
    """
    check = (tunables or {}).get("check", 0)
    if mcheck:
        from memtwin.libc.mcheck import McheckMalloc

        return McheckMalloc(space, release, tunables, preloaded=preloaded, classic=classic, **more)
    if classic or preloaded or (check and minor_of(release) < 34):
        return CheckedMalloc(space, release, tunables, preloaded=preloaded, classic=classic, **more)
    return Malloc(space, release, tunables, **more)
