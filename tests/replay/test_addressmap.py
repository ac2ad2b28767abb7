# SPDX-License-Identifier: LGPL-2.1-or-later
"""AddressMap against a dict under random insertions and removals."""

from __future__ import annotations

import random

import pytest

from memtwin.replay.addressmap import AddressMap


@pytest.mark.parametrize("seed", range(4))
def test_behaves_like_a_dict(seed: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    ours, truth = AddressMap(), dict[int, int]()
    for _ in range(30_000):
        key = 16 * rng.randrange(1, 9_000)
        if key in truth and rng.random() < 0.6:
            del ours[key], truth[key]
        else:
            ours[key] = truth[key] = rng.randrange(1, 2**64)
        assert len(ours) == len(truth)
    assert dict(ours.items()) == truth
    assert dict(ours.copy().items()) == truth
    for key in range(16, 16 * 9_000, 16):
        if key not in truth:
            with pytest.raises(KeyError):
                ours[key]


def test_zero_is_no_address() -> None:
    ours = AddressMap()
    for pair in ((0, 16), (16, 0)):
        with pytest.raises(ValueError, match="no address"):
            ours[pair[0]] = pair[1]
