# SPDX-License-Identifier: LGPL-2.1-or-later
"""Page-replacement policies against plain implementations of their definitions, and against what is known of them."""

from __future__ import annotations

import random
from collections import OrderedDict, deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memtwin.errors import UserError
from memtwin.kernel.policies import POLICIES, policy_named
from memtwin.kernel.policies.policy import Pages, validate_policy
from memtwin.kernel.policies.simulate import simulate

STRINGS = st.lists(st.integers(0, 12), max_size=120)


def plain_fifo(string: list[int], frames: int) -> list[bool]:
    queue: deque[int] = deque()
    faults = []
    for page in string:
        faults.append(page not in queue)
        if faults[-1]:
            if len(queue) == frames:
                queue.popleft()
            queue.append(page)
    return faults


def plain_lru(string: list[int], frames: int) -> list[bool]:
    stack: OrderedDict[int, None] = OrderedDict()
    faults = []
    for page in string:
        faults.append(page not in stack)
        if faults[-1] and len(stack) == frames:
            stack.popitem(last=False)
        stack[page] = None
        stack.move_to_end(page)
    return faults


def plain_clock(string: list[int], frames: int, first_counts: bool) -> list[bool]:
    """The textbook's: an array of frames, a bit for each, and a hand."""
    pages: list[int] = []
    bits: dict[int, bool] = {}
    hand = 0
    faults = []
    for page in string:
        faults.append(page not in bits)
        if not faults[-1]:
            bits[page] = True
            continue
        if len(pages) < frames:
            pages.append(page)
        else:
            while bits[pages[hand]]:
                bits[pages[hand]] = False
                hand = (hand + 1) % frames
            del bits[pages[hand]]
            pages[hand] = page
            hand = (hand + 1) % frames
        bits[page] = first_counts
    return faults


def fewest_faults(string: list[int], frames: int) -> int:
    """The least number of faults that any choice of victims can have, by trying all."""
    best: dict[frozenset[int], int] = {frozenset(): 0}
    for page in string:
        after: dict[frozenset[int], int] = {}
        for held, faults in best.items():
            if page in held:
                choices = [(held, faults)]
            elif len(held) < frames:
                choices = [(held | {page}, faults + 1)]
            else:
                choices = [(held - {out} | {page}, faults + 1) for out in held]
            for key, count in choices:
                after[key] = min(after.get(key, count), count)
        best = after
    return min(best.values())


@settings(max_examples=80, deadline=None)
@given(STRINGS, st.integers(1, 9))
def test_fifo_lru_and_clock_are_what_their_definitions_say(string: list[int], frames: int) -> None:
    assert simulate(np.array(string, int), frames, "fifo").tolist() == plain_fifo(string, frames)
    assert simulate(np.array(string, int), frames, "lru").tolist() == plain_lru(string, frames)
    for first in (False, True):
        expected = plain_clock(string, frames, first)
        assert simulate(np.array(string, int), frames, "clock", first_counts=first).tolist() == expected


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 6), max_size=24), st.integers(1, 4))
def test_optimal_is_the_least_that_is_possible(string: list[int], frames: int) -> None:
    assert simulate(np.array(string, int), frames, "optimal").sum() == fewest_faults(string, frames)


@settings(max_examples=40, deadline=None)
@given(STRINGS, st.integers(1, 9), st.integers(0, 2**32))
def test_no_policy_beats_optimal_and_none_faults_without_need(string: list[int], frames: int, seed: int) -> None:
    least = simulate(np.array(string, int), frames, "optimal").sum()
    for name in POLICIES:
        faults = simulate(np.array(string, int), frames, name, seed).sum()
        assert faults >= least
        if len(set(string)) <= frames:
            assert faults == len(set(string))


def test_belady_s_anomaly() -> None:
    """L. A. Belady, R. A. Nelson, G. S. Shedler, Communications of the ACM 12 (6), 1969: more frames, more faults."""
    string = [1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4, 5]
    assert [int(simulate(string, frames, "fifo").sum()) for frames in (3, 4)] == [9, 10]
    assert [int(simulate(string, frames, "lru").sum()) for frames in (3, 4)] == [10, 8]


def test_silberschatz_s_reference_string() -> None:
    """Operating System Concepts, page replacement: 20 references, 3 frames: FIFO 15, optimal 9, LRU 12 faults."""
    string = [7, 0, 1, 2, 0, 3, 0, 4, 2, 3, 0, 3, 2, 1, 2, 0, 1, 7, 0, 1]
    counts = {name: int(simulate(string, 3, name).sum()) for name in ("fifo", "optimal", "lru")}
    assert counts == {"fifo": 15, "optimal": 9, "lru": 12}


def test_lru_is_a_stack_algorithm_more_frames_never_fault_more() -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    string = np.random.default_rng(seed).zipf(1.3, 3000) % 200
    for name in ("lru", "optimal"):
        counts = [int(simulate(string, frames, name).sum()) for frames in (5, 10, 20, 40, 80)]
        assert counts == sorted(counts, reverse=True)


def test_two_lists_keep_what_is_used_again_and_let_a_long_scan_pass() -> None:
    """What the active list is for: 20 pages used all the time, while a file of 1,000 pages is read once."""
    hot = list(range(20))
    string = hot * 10
    for page in range(1000):
        string += [1000 + page, hot[page % 20]]
    repeated = np.array(string) < 20
    # the first round of reclaim knows of every page only that it was used once: it may cost each hot page a fault
    faults = simulate(string, 60, "two-list")[repeated]
    assert faults.sum() <= 40 and faults[-900:].sum() == 0
    assert simulate(string, 60, "fifo")[repeated][-900:].sum() > 100


@pytest.mark.parametrize("name", POLICIES)
def test_pages_come_go_and_stay_counted(name: str) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    draw = random.Random(seed)
    pages = Pages(64)
    policy = policy_named(name, pages, seed)
    present: dict[int, int] = {}
    for _ in range(600):
        step = draw.randrange(4)
        if step == 0 or not present:
            page = draw.choice([page for page in range(64) if page not in present] or [-1])
            if page >= 0:
                present[page] = draw.choice((1, 2))
                policy.upcoming = draw.randrange(1000)
                policy.insert(page, present[page])
        elif step == 1:
            page = draw.choice(list(present))
            policy.remove(page)
            del present[page]
        elif step == 2:
            kinds = draw.choice((1, 2, 3))
            policy.begin(kinds)
            page = policy.victim(kinds)
            allowed = {page for page, kind in present.items() if kind & kinds}
            assert (page in allowed) == bool(allowed)
            if page in allowed and draw.random() < 0.3:
                policy.keep(page)
        else:
            policy.retire(draw.choice(list(present)))
        assert sorted(policy.listed()) == sorted(present)
        validate_policy(policy)


def test_a_policy_that_does_not_exist() -> None:
    with pytest.raises(UserError, match="choose from two-list, fifo"):
        simulate([1, 2], 1, "mru")
    for bad in (0, -1):
        with pytest.raises(UserError):
            simulate([1, 2], bad)
    with pytest.raises(UserError):
        simulate([0.5], 1)
    assert simulate([], 3).size == 0
