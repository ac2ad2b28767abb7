# SPDX-License-Identifier: LGPL-2.1-or-later
"""The player on every C library that is here: it plays what it is told, sees what happens, and repeats itself."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from memtwin.host import player as player_module
from memtwin.host.libcs import SOURCES, available, find_libc
from memtwin.host.player import ENTRY_POINTS, OPERATION, Play, Player
from memtwin.trace.schema import Op

SOURCE = Path(player_module.__file__).with_name("player.c")


def column(*rows: dict[str, int]) -> np.ndarray:
    operations = np.zeros(len(rows), OPERATION)
    for i, row in enumerate(rows):
        for field, value in row.items():
            operations[i][field] = value
    return operations


@pytest.fixture(params=list(SOURCES))
def libc(request: pytest.FixtureRequest):
    if request.param not in available():
        pytest.skip(f"no C library {request.param}: make libcs")
    return find_libc(request.param)


def random_column(seed: int, count: int = 3000) -> np.ndarray:
    random = np.random.default_rng(seed)
    operations = np.zeros(count, OPERATION)
    operations["slot"] = random.integers(0, 50, count)
    operations["op"] = random.choice([Op.REALLOC, Op.FREE, Op.REALLOC], count)
    operations["size"] = random.integers(1, 3000, count)
    operations["op"][-1] = Play.STOP
    return operations


def test_the_numbers_in_c_are_those_in_python():
    text = SOURCE.read_text()
    numbers = dict(re.findall(r"\b([A-Z_][A-Z_0-9]+) = (\d+)", text))
    for kind in (Play, Op):
        for op in kind:
            if op.name in numbers:
                assert int(numbers[op.name]) == op, op.name
    assert all(op.name in numbers for op in Play)
    places = re.search(r"F_ERRNO = 32,(.*?)FUNCTIONS", text, re.DOTALL)
    assert places and len(re.findall(r"F_\w+", places[1])) == len([p for p in ENTRY_POINTS if p > 32])


def test_entry_points_errno_and_threads(libc):
    huge = 1 << (8 * libc.word - 1)
    operations = column(
        {"op": Op.MALLOC, "slot": 0, "size": 24},
        {"op": Op.CALLOC, "slot": 1, "size": 10, "argument": 30},
        {"op": Op.MALLOC, "slot": 2, "size": huge},
        {"op": Op.THREAD_START, "argument": 1},
        {"op": Op.MALLOC, "thread": 1, "slot": 3, "size": 100},
        {"op": Play.STOP, "thread": 1},
        {"op": Op.THREAD_EXIT, "thread": 1},
        {"op": Op.FREE, "slot": 3},
        {"op": Op.FREE, "slot": 0},
    )
    with Player(libc, operations, 4) as player:
        assert player.run() == player.pid
        assert player.position == 5
        first, cleared, refused, _, foreign = (int(r) for r in player.entries["result"][:5])
        heap = next(m for m in player.maps() if m.path == "[heap]")
        assert heap.start == player.start_brk() <= first < cleared < heap.end
        assert not player.memory(cleared, cleared + 300).any()
        assert refused == 0 and player.entries["error"][2] == 12
        assert not heap.start <= foreign < heap.end
        assert player.run() is None
        assert player.ending.status == 0 and player.ending.signal == 0
        assert {Op.CALLOC, Op.FREE} <= set(player.hidden["op"].tolist()), "the table of a thread's TLS blocks"


def test_a_corrupted_heap_ends_with_the_library_s_own_words(libc):
    operations = column(
        {"op": Op.MALLOC, "slot": 0, "size": 3000},
        {"op": Op.MALLOC, "slot": 1, "size": 3000},
        {"op": Op.FREE, "slot": 0, "byte": 1},
        {"op": Op.FREE, "slot": 0},
    )
    with Player(libc, operations, 2) as player:
        assert player.run() is None
        assert player.ending.signal == 6
        assert player.ending.message == "double free or corruption (!prev)"
        assert player.position == 3


def test_two_runs_are_equal_and_other_settings_are_not(libc):
    operations = random_column(seed=7)
    results = []
    for environment in ({}, {}, {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=1"}):
        with Player(libc, operations, 50, environment) as player:
            player.run()
            results.append(player.entries.copy())
    assert np.array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])


def test_a_forked_child_goes_on_alone(libc):
    operations = column(
        {"op": Op.MALLOC, "slot": 0, "size": 100},
        {"op": Op.FORK, "size": 2},
        {"op": Op.MALLOC, "slot": 1, "size": 5000},
        {"op": Play.STOP},
        {"op": Op.MALLOC, "slot": 2, "size": 5000},
    )
    with Player(libc, operations, 3) as player:
        child = player.run()
        assert child not in (None, player.pid)
        assert player.run() is None
        assert player.entries["result"][2] == player.entries["result"][4], "the parent's heap has not moved"
