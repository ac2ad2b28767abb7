# SPDX-License-Identifier: LGPL-2.1-or-later
"""HeapWatch: an observer that notices misuse of the heap without moving an address.

    watch = HeapWatch(process)
    ...                             # the program: process.malloc, process.write, process.free, ...
    watch.findings                  # what was noticed, in order
    watch.leaks()                   # blocks that nobody freed, by the line that allocated them

A debugging allocator (Valgrind, AddressSanitizer, mcheck) puts zones around the blocks, so that a program under it has
another heap than without. The watch stands outside: it remembers every block beside the process, looks at each call and
each access before it is made, and then lets it happen as it would have happened, abort and all. So what it finds, it
finds in the heap that the program really has.

    use after free    an access to a block that was freed, its memory not given out again since
    out of bounds     an access before a block, or past the bytes that were asked for, if only in the padding
    double free       free or realloc of a block that was freed
    invalid free      free or realloc of an address that no allocator call returned
    size mismatch     the size that a block's header says is not the one it had when it was given out
"""

from __future__ import annotations

import sys
from bisect import bisect_right, insort
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from types import FrameType
from typing import Any, Protocol

SIZES: dict[str, Callable[..., int]] = {  # what a call asks for
    "malloc": lambda size: size,
    "calloc": lambda count, size: count * size,
    "memalign": lambda alignment, size: size,
    "aligned_alloc": lambda alignment, size: size,
    "valloc": lambda size: size,
    "pvalloc": lambda size: size,
}


class Watched(Protocol):
    """What a watch needs of a process; memtwin.twin.process.Process has it."""

    libc: Any
    space: Any


@dataclass
class Block:
    """A block that was given out: what was asked for, what could be used, where in the program, and where it ended."""

    address: int
    size: int
    usable: int
    site: str
    freed: str = ""

    def __str__(self) -> str:
        end = f", freed at {self.freed}" if self.freed else ""
        return f"{self.size} bytes at {self.address:#x}, allocated at {self.site}{end}"


@dataclass(frozen=True)
class Finding:
    """One misuse. address: what was accessed or freed; site: the line of the program; block: the one concerned."""

    kind: str
    address: int
    site: str
    text: str
    block: Block | None = None

    def __str__(self) -> str:
        return f"{self.site}: {self.kind}: {self.text}"


@dataclass
class Leak:
    """Blocks that live, allocated by one line of the program."""

    site: str
    blocks: list[Block] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """What was asked for, all together."""
        return sum(block.size for block in self.blocks)

    def __str__(self) -> str:
        return f"{self.site}: {self.bytes} bytes in {len(self.blocks)} block{'s' * (len(self.blocks) != 1)} never freed"


class Blocks:
    """Blocks by address, none overlapping another."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._by_start: dict[int, Block] = {}

    def add(self, block: Block) -> None:
        """One block more; those that it overlaps are dropped."""
        self.drop(block.address, block.address + max(block.usable, 1))
        insort(self._starts, block.address)
        self._by_start[block.address] = block

    def drop(self, start: int, end: int) -> None:
        """Forget the blocks that reach into [start, end)."""
        at = max(bisect_right(self._starts, start) - 1, 0)
        while at < len(self._starts) and self._starts[at] < end:
            block = self._by_start[self._starts[at]]
            if block.address + block.usable > start:
                del self._by_start[self._starts.pop(at)]
            else:
                at += 1

    def pop(self, address: int) -> Block | None:
        """Take out the block that begins at `address`."""
        block = self._by_start.pop(address, None)
        if block:
            self._starts.pop(bisect_right(self._starts, address) - 1)
        return block

    def at(self, address: int) -> Block | None:
        """The block that begins at `address`."""
        return self._by_start.get(address)

    def below(self, address: int) -> Block | None:
        """The block that begins nearest at or below `address`."""
        at = bisect_right(self._starts, address)
        return self._by_start[self._starts[at - 1]] if at else None

    def above(self, address: int) -> Block | None:
        """The block that begins nearest above `address`."""
        at = bisect_right(self._starts, address)
        return self._by_start[self._starts[at]] if at < len(self._starts) else None

    def __iter__(self) -> Any:
        return iter([self._by_start[start] for start in self._starts])


class HeapWatch:
    """Watches a process from now on, until `detach`; blocks that it has already are not known.

    on_finding: called with each finding as it is made. A child made by fork is not watched.
    """

    def __init__(self, process: Watched, on_finding: Callable[[Finding], None] | None = None) -> None:
        self.process = process
        self.word = int(process.libc.word)
        self.header = 2 * self.word  # bytes before a block
        self.findings: list[Finding] = []
        self.live = Blocks()
        self.freed = Blocks()
        self.on_finding = on_finding
        self._sizes: dict[int, int] = {}
        self._wrap_all()

    # Attaching.

    def _wrap_all(self) -> None:
        for name, size in SIZES.items():
            self._wrap(name, self._allocating(name, size))
        self._wrap("posix_memalign", self._posix_memalign)
        self._wrap("realloc", lambda call, pointer, size: self._realloc(call, (pointer, size), pointer, size))
        self._wrap(
            "reallocarray", lambda call, pointer, n, size: self._realloc(call, (pointer, n, size), pointer, n * size)
        )
        self._wrap("free", self._free)
        self._wrap("read", lambda call, address, length: self._access(call, (address, length), address, length, "read"))
        self._wrap(
            "write", lambda call, address, data: self._access(call, (address, data), address, len(data), "write")
        )
        self._wrap(
            "touch", lambda call, address, length: self._access(call, (address, length), address, length, "write")
        )

    def _wrap(self, name: str, around: Callable[..., Any]) -> None:
        call = getattr(self.process, name)

        @wraps(call)
        def watched(*arguments: Any) -> Any:
            return around(call, *arguments)

        setattr(self.process, name, watched)

    def detach(self) -> None:
        """The process's calls are its own again; what was found stays."""
        names = (*SIZES, "posix_memalign", "realloc", "reallocarray", "free", "read", "write", "touch")
        for name in names:
            vars(self.process).pop(name, None)

    # Calls.

    def _allocating(self, name: str, size: Callable[..., int]) -> Callable[..., int]:
        def around(call: Callable[..., int], *arguments: int) -> int:
            pointer = call(*arguments)
            self.given(pointer, size(*arguments))
            return pointer

        return around

    def _posix_memalign(self, call: Callable[..., int], memptr: int, alignment: int, size: int) -> int:
        error = call(memptr, alignment, size)
        if error == 0:
            data = self.process.space.read(memptr, 8)
            self.given(int.from_bytes(data, "little"), size)
        return error

    def _realloc(self, call: Callable[..., int], arguments: tuple[int, ...], pointer: int, size: int) -> int:
        if pointer:
            self.giving_back(pointer, "realloc")
        new = call(*arguments)
        if pointer and (new or size == 0):
            self.given_back(pointer)
        self.given(new, size)
        return new

    def _free(self, call: Callable[..., None], pointer: int) -> None:
        if pointer:
            self.giving_back(pointer, "free")
        call(pointer)
        if pointer:
            self.given_back(pointer)

    def _access(self, call: Callable[..., Any], arguments: tuple[Any, ...], address: int, length: int, how: str) -> Any:
        if length > 0:
            self.accessed(address, length, how)
        return call(*arguments)

    # What is remembered.

    def given(self, pointer: int, size: int) -> None:
        """The allocator gave out a block (0: it did not)."""
        if pointer == 0:
            return
        usable = self.process.libc.malloc_usable_size(pointer)
        self.freed.drop(pointer - self.header, pointer + usable)
        self.live.add(Block(pointer, size, usable, site()))
        self._sizes[pointer] = self._size_word(pointer)

    def given_back(self, pointer: int) -> None:
        """The allocator took a block back."""
        block = self.live.pop(pointer)
        if block:
            block.freed = site()
            self.freed.add(block)

    def _size_word(self, pointer: int) -> int:
        """The block's size as its header has it, without the bit that tells of the chunk below."""
        return int.from_bytes(self.process.space.read(pointer - self.word, self.word), "little") & ~1

    # What is noticed.

    def giving_back(self, pointer: int, call: str) -> None:
        """free or realloc is about to be called with `pointer`."""
        block = self.live.at(pointer)
        if block is None:
            self._bad_pointer(pointer, call)
        elif self._size_word(pointer) != self._sizes[pointer]:
            was, now = self._sizes[pointer] & ~7, self._size_word(pointer) & ~7
            self._found("size mismatch", pointer, f"the header of {block} says {now}, it said {was}", block)

    def _bad_pointer(self, pointer: int, call: str) -> None:
        freed = self.freed.at(pointer)
        if freed:
            self._found("double free", pointer, f"{call} of {freed}", freed)
            return
        near = self.live.below(pointer) or self.freed.below(pointer)
        if near and pointer < near.address + near.usable:
            text = f"{call} of an address {pointer - near.address} bytes inside {near}"
            self._found("invalid free", pointer, text, near)
        else:
            self._found("invalid free", pointer, f"{call} of {pointer:#x}, which no allocator call returned")

    def accessed(self, address: int, length: int, how: str) -> None:
        """The program is about to read or write [address, address + length)."""
        block = self.live.below(address)
        if block and address < block.address + block.usable:
            beyond = address + length - block.address - block.size
            if beyond > 0:
                self._beyond(block, address, length, beyond, how)
            return
        freed = self.freed.below(address)
        if freed and address < freed.address + freed.usable:
            self._found("use after free", address, f"{how} of {length} bytes in {freed}", freed)
            return
        if block and address < block.address + block.usable + self.header:
            self._found("out of bounds", address, f"{how} of {length} bytes right behind {block}", block)
            return
        above = self.live.above(address)
        if above and address + length > above.address - self.header and address >= above.address - self.header:
            before = above.address - address
            self._found("out of bounds", address, f"{how} of {length} bytes, {before} before {above}", above)

    def _beyond(self, block: Block, address: int, length: int, beyond: int, how: str) -> None:
        where = "in its padding" if address + length <= block.address + block.usable else "over the chunk behind it"
        text = f"{how} of {length} bytes ends {beyond} past the end of {block}, {where}"
        self._found("out of bounds", address, text, block)

    def _found(self, kind: str, address: int, text: str, block: Block | None = None) -> None:
        finding = Finding(kind, address, site(), text, block)
        self.findings.append(finding)
        if self.on_finding:
            self.on_finding(finding)

    def leaks(self) -> list[Leak]:
        """Blocks that live now, by the line that allocated them, the most bytes first."""
        by_site: dict[str, Leak] = {}
        for block in self.live:
            by_site.setdefault(block.site, Leak(block.site)).blocks.append(block)
        return sorted(by_site.values(), key=lambda leak: (-leak.bytes, leak.site))

    def report(self) -> str:
        """Findings and leaks, a line each; empty when there are none."""
        return "".join(f"{line}\n" for line in (*self.findings, *self.leaks()))


def site() -> str:
    """The line of the program that made the call: "file:line (function)" of the first frame outside memtwin."""
    frame: FrameType | None = sys._getframe(1)
    while frame and frame.f_globals.get("__name__", "").startswith("memtwin."):
        frame = frame.f_back
    if frame is None:
        return "?"
    name = frame.f_code.co_filename.rpartition("/")[2]
    return f"{name}:{frame.f_lineno} ({frame.f_code.co_name})"
