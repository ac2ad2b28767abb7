# SPDX-License-Identifier: LGPL-2.1-or-later
"""Random operations, chosen so that they meet: most addresses lie in or beside existing mappings, most sizes are small.

The generator knows only what /proc/PID/maps shows; the operation it makes is absolute and stands for itself. It never
touches the program's own pages or the kernel's ([vdso] and its like).
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from memtwin.host.stage import Facts
from memtwin.verify.hugeops import is_harmless, map_huge, use_huge
from memtwin.verify.layout import KERNEL_OWN, Span, spans
from memtwin.verify.operations import FILES, NO_FILE, Operation, Outcome

PAGE, MIB = 4096, 1 << 20
PRIVATE, SHARED, FIXED, ANONYMOUS = 0x2, 0x1, 0x10, 0x20
GROWSDOWN, LOCKED, NORESERVE, POPULATE, STACK, NOREPLACE = 0x100, 0x2000, 0x4000, 0x8000, 0x20000, 0x100000
ZONE, TARGET_ZONE = 0x10000000, 0x20000000  # where fixed mappings go when they go nowhere else
ZONE_PAGES = 64
MOST_PROCESSES = 4
FILE_SHARE = 0.4  # of mmaps that map a file

PROTECTIONS = (3, 3, 3, 3, 1, 1, 0, 7, 5, 2, 4)
SMALL = (1, 1, 2, 2, 3, 4, 5, 8, 16)
LARGE = (2 * MIB, 2 * MIB, 4 * MIB, 3 * MIB, 2 * MIB + PAGE, 2 * MIB - PAGE, 6 * MIB)
# MADV_: everything but what would harm the host (HWPOISON, SOFT_OFFLINE), what a daemon finishes later (MERGEABLE,
# COLLAPSE) and what needs swap or a file's write-back to be exact (PAGEOUT, COLD, REMOVE)
ADVICE = (0, 1, 2, 3, 4, 4, 4, 8, 8, 10, 11, 14, 14, 15, 16, 17, 18, 19, 22, 23, 24, 102, 103)
ERRORS_ODD = (5, 7, 26, 99, 1000)  # no such advice


class Generator:
    """Makes one operation after the other; `note` tells it what the last one came to.

    kinds: weights by operation name, to aim a run at something; what is not named keeps its weight. huge: the machine
    has reserved huge pages, and much is about them.
    """

    def __init__(
        self, random: Random, facts: Facts, start: bytes, kinds: dict[str, int] | None = None, huge: bool = False
    ) -> None:
        self.random = random
        self.facts = facts
        self._texts: dict[int, bytes] = {0: start}
        self._spans: dict[int, list[Span]] = {0: spans(start)}
        self._parents: dict[int, int] = {0: 0}
        self._due: list[Operation] = []
        self.heap = -(-facts.image_end // PAGE) * PAGE
        self.large = random.random() < 0.3  # a sequence about sizes around a huge page
        weights = {**WEIGHTS, **(HUGE_WEIGHTS if huge else {}), **(kinds or {})}
        self.huge = huge
        self.moving = huge and random.random() < 0.3
        if self.moving:
            weights["fork"] = 0
        self._makers: list[Callable[[Generator, int], Operation | None]] = [MAKERS[name] for name in weights]
        self._weights = list(weights.values())

    def next(self) -> Operation:
        """The next operation."""
        while True:
            if self._due:
                return self._due.pop()
            process = self.random.choice(list(self._texts))
            maker = self.random.choices(self._makers, self._weights)[0]
            operation = maker(self, process)
            if operation is not None and (not self.huge or is_harmless(self, operation)):
                return operation

    def note(self, operation: Operation, outcome: Outcome) -> None:
        """Learn what the layout is after an operation."""
        process, name, arguments = operation
        if outcome.maps != self._texts.get(process):
            self._texts[process] = outcome.maps
            self._spans[process] = spans(outcome.maps)
        if name == "fork" and outcome.result == 0:
            child = arguments[0]
            self._texts[child], self._spans[child] = outcome.maps, self._spans[process]
            self._parents[child] = process
            self._due.append(Operation(child, "nothing", ()))  # DONTFORK: its maps may be others
        elif name == "exit" and outcome.result == 0:
            self._forget(arguments[0])

    def _forget(self, process: int) -> None:
        del self._texts[process], self._spans[process], self._parents[process]
        for child, parent in self._parents.items():
            if parent == process:
                self._parents[child] = 0

    # Pieces that operations are made of

    def _pick(self, process: int) -> Span | None:
        usable = [span for span in self._spans[process] if self._is_free(span)]
        return self.random.choice(usable) if usable else None

    def _is_free(self, span: Span) -> bool:
        own = self.facts.image_start <= span.start < self.facts.image_end
        if span.name == b"[stack]" and self.random.random() < 0.7:
            return False
        return not own and span.name not in KERNEL_OWN

    def _is_safe(self, process: int, address: int, length: int) -> bool:
        """Whether the range has nothing of the program's or the kernel's in it."""
        end = address + length
        if address < self.facts.image_end and end > self.facts.image_start:
            return False
        return all(
            span.name not in KERNEL_OWN for span in self._spans[process] if span.start < end and span.end > address
        )

    def address(self, process: int) -> int:
        """A page: in a mapping near its start or end, just beside one, or in the zone."""
        span = self._pick(process) if self.random.random() < 0.8 else None
        if span is None:
            return ZONE + PAGE * self.random.randrange(ZONE_PAGES)
        pages = (span.end - span.start) // PAGE
        place = self.random.random()
        if place < 0.1:
            return span.end
        if place < 0.15:
            return max(span.start - PAGE * self.random.choice((1, 2, 5)), 0)
        if place < 0.3:
            return span.end - PAGE * self.random.randrange(1, min(40, pages) + 1)
        return span.start + PAGE * self.random.randrange(min(40, pages))

    def length(self) -> int:
        """Bytes: mostly a few pages, now and then no whole number of them."""
        if self.large and self.random.random() < 0.3:
            return self.random.choice(LARGE)
        length = PAGE * self.random.choice(SMALL)
        return length - self.random.choice((0, 0, 0, 0, 0, 0, 0, 1, 100, 4095))

    def odd_length(self) -> int:
        """Bytes that no mapping has."""
        return self.random.choice((0, 1 << 47, (1 << 47) - PAGE, 1 << 63, (1 << 64) - 1, (1 << 64) - PAGE))

    def range(self, process: int) -> tuple[int, int] | None:
        """Address and length of a safe range; rarely one that is an error."""
        if self.random.random() < 0.02:
            address, length = self.address(process) + self.random.choice((0, 1, 8)), self.length()
            length = self.random.choice((0, length))
        else:
            address, length = self.address(process), self.length()
            if self.random.random() < 0.2 and (span := self._pick(process)) and span.end - span.start <= 16 * MIB:
                address, length = span.start, span.end - span.start
        return (address, length) if self._is_safe(process, address, length + PAGE) else None


def _mmap(g: Generator, process: int) -> Operation | None:
    r = g.random
    address, flags = _mmap_address(g, process)
    length = g.length() if r.random() < 0.98 else g.odd_length()
    protection = r.choice(PROTECTIONS)
    file, offset = NO_FILE, 0
    if r.random() < FILE_SHARE:
        file, offset = _mmap_file(r)
        flags |= SHARED if r.random() < 0.4 else PRIVATE
    else:
        flags |= ANONYMOUS | (SHARED if r.random() < 0.2 else PRIVATE)
        offset = 0 if r.random() < 0.95 else PAGE * r.randrange(20)
    for flag, chance in ((NORESERVE, 0.08), (POPULATE, 0.08), (LOCKED, 0.06), (GROWSDOWN, 0.03), (STACK, 0.03)):
        if r.random() < chance:
            flags |= flag
    if flags & FIXED and not g._is_safe(process, address, length):
        return None
    return Operation(process, "mmap", (address, length, protection, flags, file, offset))


def _mmap_address(g: Generator, process: int) -> tuple[int, int]:
    """An address and the flag that says how it is meant."""
    kind = g.random.random()
    if kind < 0.22:
        return g.address(process), FIXED
    if kind < 0.32:
        return g.address(process), NOREPLACE
    if kind < 0.45:
        return g.address(process) + g.random.choice((0, 0, 5)), 0
    return 0, 0


def _mmap_file(r: Random) -> tuple[int, int]:
    name = r.choices(FILES, (8, 6, 2, 1, 3, 0.3, 0.3, 0.3))[0]
    offset = PAGE * r.choice((0, 0, 1, 2, 3, 7, 16, 20, 38, 45)) + r.choice((0,) * 20 + (100,))
    return FILES.index(name), offset


def _munmap(g: Generator, process: int) -> Operation | None:
    where = g.range(process)
    return where and Operation(process, "munmap", where)


def _mprotect(g: Generator, process: int) -> Operation | None:
    where = g.range(process)
    return where and Operation(process, "mprotect", (*where, g.random.choice(PROTECTIONS)))


def _mremap(g: Generator, process: int) -> Operation | None:
    r = g.random
    where = g.range(process)
    if where is None:
        return None
    address, old = where
    flags = r.choice((0, 1, 1, 1, 3, 3, 5, 5, 7, 2, 4, 8))
    new = old if flags & 4 and r.random() < 0.9 else r.choice((old, g.length(), g.length(), old // 2))
    target = 0
    if flags & 2:
        target = g.address(process) if r.random() < 0.4 else TARGET_ZONE + PAGE * r.randrange(ZONE_PAGES)
        if not g._is_safe(process, target, new + PAGE):
            return None
    if r.random() < 0.03:
        old = 0
    return Operation(process, "mremap", (address, old, new, flags, target))


def _brk(g: Generator, process: int) -> Operation:
    return Operation(process, "brk", (g.heap + g.random.randrange(-PAGE, 64 * PAGE),))


def _madvise(g: Generator, process: int) -> Operation | None:
    where = g.range(process)
    advice = g.random.choice(ADVICE) if g.random.random() < 0.98 else g.random.choice(ERRORS_ODD)
    return where and Operation(process, "madvise", (*where, advice))


def _mlock(g: Generator, process: int) -> Operation | None:
    where = g.range(process)
    if where is None:
        return None
    kind = g.random.choice(("mlock", "munlock", "munlock", "mlock2"))
    more = (g.random.choice((0, 1, 1, 2)),) if kind == "mlock2" else ()
    return Operation(process, kind, (*where, *more))


def _mincore(g: Generator, process: int) -> Operation | None:
    where = g.range(process)
    return where and Operation(process, "mincore", where)


def _msync(g: Generator, process: int) -> Operation | None:
    where = g.range(process)
    return where and Operation(process, "msync", (*where, g.random.choice((0, 1, 1, 2, 3, 8))))


def _touch(g: Generator, process: int) -> Operation | None:
    r = g.random
    address = g.address(process)
    if r.random() < 0.05:
        address = _below_stack(g, process)
    times = r.choice((1, 1, 1, 2, 3, 5, 8, 17, 40))
    kind = r.choice(("load", "store", "store", "touch_read", "touch_write", "touch_write"))
    if kind.startswith("touch_"):
        return Operation(process, kind, (address, times)) if g._is_safe(process, address, times * PAGE) else None
    stride = r.choice((PAGE, PAGE, PAGE, 2 * PAGE, 16 * PAGE, 1000))
    address += r.choice((0, 0, 1, 4095))
    if not g._is_safe(process, address, times * stride):
        return None
    more = (r.randrange(1, 256),) if kind == "store" else ()
    return Operation(process, kind, (address, times, stride, *more))


def _below_stack(g: Generator, process: int) -> int:
    stacks = [span.start for span in g._spans[process] if span.name == b"[stack]"]
    if not stacks:
        return ZONE
    distance = g.random.choice((1, 2, 30, 300, 1500, 2100))
    return max(stacks[0] - PAGE * g.random.randrange(1, distance + 1), 0)


def _fork(g: Generator, process: int) -> Operation | None:
    free = [number for number in range(1, MOST_PROCESSES) if number not in g._texts]
    return Operation(process, "fork", (free[0],)) if free else None


def _exit(g: Generator, process: int) -> Operation | None:
    return Operation(g._parents[process], "exit", (process,)) if process else None


MAKERS: dict[str, Callable[[Generator, int], Operation | None]] = {
    "mmap": _mmap, "munmap": _munmap, "mprotect": _mprotect, "mremap": _mremap, "brk": _brk, "madvise": _madvise,
    "mlock": _mlock, "mincore": _mincore, "msync": _msync, "touch": _touch, "fork": _fork, "exit": _exit,
    "map huge": map_huge, "use huge": use_huge,
}  # fmt: skip
WEIGHTS = {
    "mmap": 24, "munmap": 9, "mprotect": 12, "mremap": 11, "brk": 4, "madvise": 12, "mlock": 5, "mincore": 2,
    "msync": 2, "touch": 24, "fork": 2, "exit": 2,
}  # fmt: skip
HUGE_WEIGHTS = {"map huge": 14, "use huge": 60, "fork": 5, "exit": 5}
