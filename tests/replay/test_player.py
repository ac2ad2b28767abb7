# SPDX-License-Identifier: LGPL-2.1-or-later
"""The player's quick ways leave the heap as the ordinary calls do, word for word."""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator

import numpy as np
import pytest

from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.machine import Machine
from memtwin.libc.check import validate_heap
from memtwin.libc.malloc import Malloc
from memtwin.libc.release import RELEASES
from memtwin.replay.player import Player
from memtwin.replay.timeline import TimeLine
from memtwin.trace.reader import Columns
from memtwin.trace.schema import EVENTS, Op

EVENTS_PLAYED = 20_000
THREADS = (1000, 1001, 1002)
Call = tuple[int, int, int, int, int]  # op, thread, size, pointer, result


def allocator(release: str) -> Malloc:
    """An allocator with some threads."""
    malloc = Malloc(AddressSpace(Machine()), release)
    malloc.switch_thread(THREADS[0])
    for tid in THREADS[1:]:
        malloc.thread_start(tid)
    return malloc


def called(malloc: Malloc, seed: str) -> Iterator[Call]:
    """Random calls, made in the ordinary way; the program writes its blocks, the size first, as the player has it."""
    draw = random.Random(seed)
    blocks: list[int] = []
    for _ in range(EVENTS_PLAYED):
        tid = draw.choice(THREADS) if draw.random() < 0.1 else malloc.tid
        malloc.switch_thread(tid)
        if blocks and draw.random() < 0.5:
            block = blocks.pop(draw.randrange(max(len(blocks) - 20, 0), len(blocks)))
            malloc.free(block)
            yield Op.FREE, tid, 0, block, 0
            continue
        size = draw.choice((0, 1, 24, 25, 100, draw.randrange(1100), draw.randrange(3000)))
        block = malloc.malloc(size)
        malloc.space.touch(block, size, 2)
        malloc.space.write(block, (size + 1).to_bytes(8, "little"))
        blocks.append(block)
        yield Op.MALLOC, tid, size, 0, block


def columns_of(calls: list[Call]) -> Columns:
    """The calls as a trace has them."""
    columns = {field.name: np.zeros(len(calls), field.type.to_pandas_dtype()) for field in EVENTS}
    for name, values in zip(("op", "thread", "size", "pointer", "result"), zip(*calls, strict=True), strict=True):
        columns[name][:] = values
    return Columns(start=0, **columns)


def memory_of(malloc: Malloc) -> dict[str, bytes]:
    """Every byte that the process has, by the lines of its maps."""
    return {str(vma): malloc.space.read(vma.start, vma.end - vma.start) for vma in malloc.space.vmas() if vma.flags & 1}


@pytest.mark.parametrize("release", RELEASES)
def test_quick_and_ordinary_calls_do_the_same(release: str) -> None:
    seed = secrets.token_hex(4)
    print(f"seed {seed}")
    ordinary, played = allocator(release), allocator(release)
    calls = list(called(ordinary, seed))
    player = Player(played, played.space, TimeLine(len(calls)))
    player.load(columns_of(calls))
    assert player.play(0, len(calls)) == len(calls)
    assert player.equal == player.compared == sum(call[0] == Op.MALLOC for call in calls)
    assert player.live_bytes == sum(call[2] for call in calls) - sum(size_freed(calls))
    assert memory_of(played) == memory_of(ordinary) != {}
    assert played.space.min_flt == ordinary.space.min_flt
    validate_heap(played)


def test_it_stops_where_the_twin_does() -> None:
    malloc = allocator("2.36")
    block = malloc.malloc(100)
    played = allocator("2.36")
    player = Player(played, played.space, TimeLine(100))
    player.load(columns_of([(Op.MALLOC, THREADS[0], 100, 0, block), *[(Op.FREE, THREADS[0], 0, block, 0)] * 99]))
    assert player.play(0, 100) == 3
    assert played.abort == "free(): double free detected in tcache 2"


def size_freed(calls: list[Call]) -> Iterator[int]:
    """The sizes of the blocks that were freed."""
    sizes: dict[int, int] = {}
    for op, _, size, pointer, result in calls:
        if op == Op.MALLOC:
            sizes[result] = size
        else:
            yield sizes.pop(pointer)
