# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Random sequences of allocator operations: a profile and a seed give one column, the same one every time.

The generator knows which slots are full, not what the allocator does: where an allocation fails the slot stays empty in
truth, and a later free(NULL) is as good a call as any. Any part of a column that is left out by shrinking
leaves a legal column.
"""

from __future__ import annotations

from typing import Any

import cython
import numpy as np
import numpy.typing as npt

from memtwin.host.player import OPERATION, Play
from memtwin.trace.schema import Op
from memtwin.verify.libc.profiles import Profile, Rare

if not cython.compiled:
    ONE = 1
    ALL_BITS, GOLDEN = 0xFFFFFFFFFFFFFFFF, 0x9E3779B97F4A7C15
    MIX_A, MIX_B = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
    from memtwin.verify.libc.codes import (
        ALIGNED_ALLOC,
        CALLOC,
        FORK,
        FREE,
        LIMIT,
        MALLINFO,
        MALLOC,
        MALLOC_INFO,
        MALLOC_STATS,
        MALLOC_TRIM,
        MALLOPT,
        MEMALIGN,
        MMAP,
        MUNMAP,
        POSIX_MEMALIGN,
        PVALLOC,
        RARE_EXIT,
        RARE_FORK,
        RARE_INFO,
        RARE_LIMIT,
        RARE_MALLINFO,
        RARE_MALLOPT,
        RARE_MAP,
        RARE_REFUSED,
        RARE_SBRK,
        RARE_START,
        RARE_STATS,
        RARE_SWITCH,
        RARE_TRIM,
        REALLOC,
        REALLOCARRAY,
        SBRK,
        STOP,
        THREAD_EXIT,
        THREAD_START,
        WRITE,
    )

MAPPINGS = 16  # slots behind the profile's own: what the program maps itself
_CODES: dict[str, int] = {**{op.name: int(op) for op in Op}, **{op.name: int(op) for op in Play}}

# mallopt's parameter, lowest and highest value to try; the limits that glibc refuses at are inside the ranges.
KNOBS = (
    (1, 0, 200),  # M_MXFAST
    (-1, 0, 1 << 21),  # M_TRIM_THRESHOLD
    (-2, 0, 1 << 20),  # M_TOP_PAD
    (-3, 0, 1 << 20),  # M_MMAP_THRESHOLD
    (-3, 1 << 20, 1 << 26),
    (-4, 0, 20),  # M_MMAP_MAX
    (-4, 1000, 65536),
    (-6, 0, 300),  # M_PERTURB
    (-6, 0, 0),
    (-5, 0, 7),  # M_CHECK_ACTION
    (-7, 0, 12),  # M_ARENA_TEST
    (-8, 0, 12),  # M_ARENA_MAX
    (-100, 0, 3),  # not a parameter
)


def _integers(values: Any, kind: Any = np.int64) -> npt.NDArray[Any]:
    """C integers when compiled; uncompiled Python's own, which do not overflow on the way."""
    return np.array(values, kind if cython.compiled else object)


def _table(weights: dict[str, int]) -> npt.NDArray[Any]:
    return _integers([(weight, _CODES[name]) for name, weight in weights.items()])


class Generator:
    """Makes one column; `run` fills it. The state of a splitmix64 generator is all its randomness."""

    def __init__(self, profile: Profile, seed: int, count: int, word: int) -> None:
        self.state = seed & ALL_BITS
        self.rows = _integers(np.zeros((count, 3), np.uint64), np.uint64)
        self.sizes = _integers(profile.sizes)
        self.empty = _table(profile.empty)
        self.full = _table(profile.full)
        self.rare = _integers([profile.rare.get(kind, 0) for kind in Rare])
        self.rare_total = sum(profile.rare.values())
        self.knobs = _integers(KNOBS)
        self.slots = profile.slots
        self.threads = profile.threads
        self.longest_write = profile.longest_write
        self.word_bits = 8 * word
        self.length = _integers([0] * (profile.slots + MAPPINGS), np.uint64)  # 0: empty, else the block's size + 1
        self.saved = self.length
        self.alive = np.zeros(256, np.uint8)
        self.alive[0] = 1
        self.living = 1
        self.thread = self.at = self.sweep = self.mood = self.mood_ends = self.child_ends = 0
        self.end = count

    # ---- drawing ----

    def draw(self, below: int) -> int:
        """A number from 0 to below - 1 (splitmix64)."""
        self.state = (self.state + GOLDEN) & ALL_BITS
        z = self.state
        z = ((z ^ (z >> 30)) * MIX_A) & ALL_BITS
        z = ((z ^ (z >> 27)) * MIX_B) & ALL_BITS
        return (z ^ (z >> 31)) % below

    def weighted(self, table: Any) -> int:
        """The row of a table whose first column is weights."""
        total: int = 0
        for i in range(table.shape[0]):
            total += table[i, 0]
        total = self.draw(total)
        for i in range(table.shape[0]):
            total -= table[i, 0]
            if total < 0:
                return i
        return 0

    def size(self) -> Any:
        """A block's size: a range by weight, then half of the time uniform in it, else near its lower end."""
        row = self.weighted(self.sizes)
        low, high = self.sizes[row, 1], self.sizes[row, 2]
        span = high - low + 1
        if self.draw(2):
            span = self.draw(span) + 1
        return low + self.draw(span)

    def put(self, op: int, byte: int, slot: int, size: int, argument: int) -> None:
        """Append an operation of the current thread."""
        if self.at < self.end:
            self.rows[self.at, 0] = op | byte << 8 | self.thread << 16 | slot << 32
            self.rows[self.at, 1] = size & ALL_BITS
            self.rows[self.at, 2] = argument & ALL_BITS
            self.at += 1

    # ---- what is done often ----

    def change_mood(self) -> None:
        """Drift in another way for a while."""
        self.mood = self.draw(4)
        self.mood_ends = self.at + 50 + self.draw(2 * self.slots + 200)
        self.sweep = self.draw(self.slots)

    def pick_slot(self) -> int:
        """A slot, as the mood has it."""
        if self.mood == 3:
            self.sweep = (self.sweep + 1) % self.slots
            return self.sweep
        slot = self.draw(self.slots)
        wanted = 0 if self.mood == 1 else 1
        if self.mood != 0 and (self.length[slot] != 0) != wanted:
            slot = self.draw(self.slots)
        return slot

    def fill(self, slot: int) -> None:
        """Allocate into an empty slot."""
        op = self.empty[self.weighted(self.empty), 1]
        size = self.size()
        argument = 0
        self.length[slot] = size + 1
        if op in (CALLOC, REALLOCARRAY):
            argument = 1 + self.draw(40)
            size = size // argument
            self.length[slot] = size * argument + 1
        elif op in (MEMALIGN, ALIGNED_ALLOC, POSIX_MEMALIGN):
            argument = ONE << (2 + self.draw(12))
            if self.draw(50) == 0:
                argument = self.draw(300)  # mostly no power of two
            if self.draw(200) == 0:
                argument = ONE << (14 + self.draw(8))
        self.put(op, 0, slot, size, argument)

    def use(self, slot: int) -> None:
        """Do something with a full slot."""
        op = self.full[self.weighted(self.full), 1]
        length = self.length[slot] - 1
        size = argument = byte = 0
        if op == FREE:
            self.length[slot] = 0
        elif op in (REALLOC, REALLOCARRAY):
            size = self.size()
            if self.draw(4) == 0:
                size = length + self.draw(64)
            if op == REALLOCARRAY:
                argument = 1 + self.draw(10)
                size = size // argument
            self.length[slot] = size * (argument if argument else 1) + 1
            if size == 0:
                self.length[slot] = 0
        elif op == WRITE:
            if length == 0:
                return
            argument = self.draw(length)
            size = 1 + self.draw(min(length - argument, self.longest_write))
            byte = self.draw(256)
        self.put(op, byte, slot, size, argument)

    # ---- what is done seldom ----

    def seldom(self) -> bool:
        """One of the rare things, by their weights; False when it was not possible now."""
        pick: int = self.draw(self.rare_total)
        kind: int = 0
        while pick >= self.rare[kind]:
            pick -= self.rare[kind]
            kind += 1
        if kind == RARE_TRIM:
            self.put(MALLOC_TRIM, 0, 0, self.draw(3) * self.draw(200000), 0)
        elif kind == RARE_MALLOPT:
            row = self.draw(self.knobs.shape[0])
            value = self.knobs[row, 1] + self.draw(self.knobs[row, 2] - self.knobs[row, 1] + 1)
            self.put(MALLOPT, 0, 0, 0, (self.knobs[row, 0] & 0xFFFFFFFF) << 32 | value)
        elif kind == RARE_MALLINFO:
            self.put(MALLINFO + self.draw(2), 0, 0, 0, 0)
        elif kind == RARE_STATS:
            self.put(MALLOC_STATS, 0, 0, 0, 0)
        elif kind == RARE_INFO:
            self.put(MALLOC_INFO, 0, 0, 0, self.draw(20) // 19)
        elif kind == RARE_SBRK:
            self.sbrk()
        elif kind == RARE_MAP:
            self.map()
        elif kind == RARE_LIMIT:
            self.limit()
        elif kind == RARE_FORK:
            self.begin_fork()
        elif kind == RARE_SWITCH:
            return self.switch_thread()
        elif kind == RARE_START:
            return self.start_thread()
        elif kind == RARE_EXIT:
            return self.exit_thread()
        elif kind == RARE_REFUSED:
            self.refused()
        else:
            self.put(STOP, 0, 0, 0, 0)
        return True

    def sbrk(self) -> None:
        """The program moves the break itself: forth, or forth and back."""
        increment = self.draw(3) * 16 * self.draw(3000) + self.draw(2) * self.draw(5000)
        slot = self.slots + MAPPINGS - 1
        self.put(SBRK, 0, slot, increment, 0)
        if self.draw(3) == 0:
            self.put(SBRK, 0, slot, -increment, 0)

    def map(self) -> None:
        """The program maps memory of its own, or unmaps it."""
        slot = self.slots + self.draw(MAPPINGS - 1)
        if self.length[slot]:
            self.put(MUNMAP, 0, slot, self.length[slot], 0)
            self.length[slot] = 0
            return
        self.length[slot] = 4096 * (1 + self.draw(600))
        self.put(MMAP, 0, slot, self.length[slot], 3 << 32 | 0x22)

    def limit(self) -> None:
        """RLIMIT_AS (9) or RLIMIT_DATA (2) near to what is used, or none again."""
        resource = 9 if self.draw(2) else 2
        headroom = 4096 * self.draw(1 + (ONE << self.draw(14)))
        self.put(LIMIT, 0, 0, resource, ALL_BITS if self.draw(3) == 0 else headroom)

    def refused(self) -> None:
        """An allocation that must fail: over PTRDIFF_MAX, or a product that overflows."""
        slot = self.draw(self.slots)
        if self.length[slot]:
            return
        top = ONE << (self.word_bits - 1)
        kind = self.draw(7)
        size = top - 64 + self.draw(128)
        if kind == 0:
            self.put(CALLOC, 0, slot, ONE << (self.word_bits // 2 + 4), ONE << (self.word_bits // 2 - 4 + self.draw(3)))
        elif kind == 1:
            self.put(REALLOCARRAY, 0, slot, ONE << (self.word_bits // 2 + 4), ONE << (self.word_bits // 2 - 3))
        elif kind == 2:
            self.put(MEMALIGN, 0, slot, size, ONE << (3 + self.draw(12)))
        elif kind == 3:
            self.put(MALLOC, 0, slot, size, 0)
        elif kind == 4:
            self.put(PVALLOC, 0, slot, 2 * top - 1 - self.draw(10000), 0)
        elif kind == 5:
            self.put(MEMALIGN, 0, slot, 100, top + self.draw(2))
        else:
            self.put(REALLOC, 0, slot, size, 0)

    # ---- processes and threads ----

    def begin_fork(self) -> None:
        """fork: the next operations are the child's, and the last of them is a STOP."""
        if self.child_ends or self.end - self.at < 300:
            return
        count = 2 + self.draw(200)
        self.put(FORK, 0, 0, count, 0)
        self.child_ends = self.at + count
        self.saved = np.array(self.length)

    def switch_thread(self) -> bool:
        """Another thread goes on; nothing is put."""
        if self.living > 1 and not self.child_ends:
            skip: int = self.draw(self.living)
            for number in range(256):
                if self.alive[number]:
                    if skip == 0:
                        self.thread = number
                        break
                    skip -= 1
        return False

    def start_thread(self) -> bool:
        """The current thread starts the one with the lowest free number."""
        if self.living >= self.threads or self.child_ends:
            return False
        number: int = 1
        while self.alive[number]:
            number += 1
        self.put(THREAD_START, 0, 0, 0, number)
        self.alive[number] = 1
        self.living += 1
        return True

    def exit_thread(self) -> bool:
        """The current thread ends, unless it is the first; the first goes on."""
        if self.thread == 0 or self.child_ends:
            return False
        self.put(THREAD_EXIT, 0, 0, 0, 0)
        self.alive[self.thread] = 0
        self.living -= 1
        self.thread = 0
        return True

    # ---- the column ----

    def step(self) -> None:
        """One random choice."""
        if self.at >= self.mood_ends:
            self.change_mood()
        if self.rare_total and self.draw(100000) < self.rare_total and self.seldom():
            return
        slot = self.pick_slot()
        if self.length[slot]:
            self.use(slot)
        else:
            self.fill(slot)

    def run(self) -> npt.NDArray[Any]:
        """Fill the column; it ends with a STOP."""
        while self.at < self.end - 1:
            self.step()
            if self.child_ends and self.at >= self.child_ends - 1:
                self.at = self.child_ends - 1
                self.put(STOP, 0, 0, 0, 0)
                self.length = self.saved
                self.child_ends = 0
        self.put(STOP, 0, 0, 0, 0)
        return np.asarray(self.rows).astype(np.uint64).view(OPERATION).reshape(-1)


def generate(profile: Profile, seed: int, count: int, word: int = 8) -> npt.NDArray[Any]:
    """A column (dtype OPERATION) of `count` operations. word: bytes of a pointer in the process that will play it."""
    return Generator(profile, seed, count, word).run()


def slots_of(profile: Profile) -> int:
    """How many slots a profile's columns name."""
    return profile.slots + MAPPINGS
