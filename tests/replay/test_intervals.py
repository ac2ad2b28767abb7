# SPDX-License-Identifier: LGPL-2.1-or-later
"""Intervals against a dict with one entry an address."""

from __future__ import annotations

import random

import pytest

from memtwin.replay.intervals import Intervals, Range


def spread(ranges: list[Range]) -> dict[int, int]:
    return {address: one.shift for one in ranges for address in range(one.start, one.end)}


@pytest.mark.parametrize("seed", range(6))
def test_behaves_like_one_entry_an_address(seed: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    ours, truth = Intervals(), dict[int, int]()
    for step in range(800):
        start = rng.randrange(200)
        end = start + rng.randrange(1, 40)
        inside = {address: truth[address] for address in range(start, end) if address in truth}
        assert spread(ours.within(start, end)) == inside
        gaps = [address for low, high in ours.missing(start, end) for address in range(low, high)]
        assert gaps == [address for address in range(start, end) if address not in truth]
        if rng.random() < 0.5:
            ours.add(Range(start, end, step))
            truth |= dict.fromkeys(range(start, end), step)
        else:
            assert spread(ours.remove(start, end)) == inside
            truth = {address: shift for address, shift in truth.items() if address not in inside}
        assert spread(list(ours)) == truth
        assert all(one.end <= other.start for one, other in zip(list(ours), list(ours)[1:], strict=False))
