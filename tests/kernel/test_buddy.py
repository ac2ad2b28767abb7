# SPDX-License-Identifier: LGPL-2.1-or-later
"""The buddy allocator against a plain model of itself, and its figures against the definitions."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memtwin.errors import UserError
from memtwin.kernel.buddy import Blocks, extfrag_text, fragmentation, fragmentation_index, unusable_index
from memtwin.kernel.flags import NO_FRAME
from memtwin.kernel.frames import Frames, validate_buddy, validate_free_frames

MAX_ORDER = 10


def all_free(frames: Frames) -> set[int]:
    """The free frames, from the blocks."""
    found: set[int] = set()
    for order, blocks in enumerate(frames.blocks_by_order()):
        for pfn in blocks:
            members = set(range(pfn, pfn + (1 << order)))
            assert not members & found and pfn % (1 << order) == 0
            found |= members
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(1024, 5000), st.lists(st.tuples(st.booleans(), st.integers(0, MAX_ORDER)), max_size=120))
def test_blocks_are_aligned_disjoint_and_join_again(total: int, steps: list[tuple[bool, int]]) -> None:
    frames = Frames(total << 12, 12)
    taken: list[tuple[int, int]] = []
    used = {0}
    for giving, order in steps:
        if giving and taken:
            pfn, had = taken.pop(order % len(taken))
            frames.give(pfn, had)
            used -= set(range(pfn, pfn + (1 << had)))
            continue
        largest = max((have for have, count in enumerate(frames.free_blocks()) if count), default=-1)
        pfn = frames.alloc(order)
        if pfn == NO_FRAME:
            assert largest < order
            continue
        block = set(range(pfn, pfn + (1 << order)))
        assert pfn % (1 << order) == 0 and max(block) < total and not block & used
        used |= block
        taken.append((pfn, order))
    assert frames.free == total - len(used)
    assert all_free(frames) == set(range(total)) - used
    assert frames.free_frames(0, total) == set(range(total)) - used
    assert frames.free_frames(700, 1000) == set(range(700, 1000)) - used
    assert [len(blocks) for blocks in frames.blocks_by_order()] == frames.free_blocks()
    validate_buddy(frames)
    validate_free_frames(frames)
    for pfn, had in taken:
        frames.give(pfn, had)
    validate_buddy(frames)
    assert all_free(frames) == set(range(1, total))


def test_a_block_is_split_lower_half_first_and_joined_on_the_way_back() -> None:
    frames = Frames(4 << 20, 12)
    assert frames.free_blocks() == [1] * 10 + [0]  # 1024 frames, of which frame 0 is taken
    first, second = frames.alloc(3), frames.alloc(3)
    assert (first, second) == (8, 16)
    assert frames.free_blocks() == [1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 0]
    frames.give(first, 3)
    frames.give(second, 3)
    assert frames.free_blocks() == [1] * 10 + [0]


def test_the_figures_are_the_kernel_s_definitions() -> None:
    assert unusable_index([0] * 11, 3) == 1000
    assert unusable_index([8, 0, 0, 1] + [0] * 7, 3) == 500
    assert unusable_index([8, 0, 0, 1] + [0] * 7, 4) == 1000
    assert unusable_index([8, 0, 0, 1] + [0] * 7, 0) == 0
    assert fragmentation_index([0] * 11, 0) == 0
    assert fragmentation_index([1] + [0] * 10, 0) == -1000
    assert fragmentation_index([1000] + [0] * 10, 9) == 1000 - (1000 + 1000 * 1000 // 512) // 1000
    assert fragmentation_index([1] + [0] * 10, 10) == 0


def test_every_second_frame_free_is_fragmentation_at_its_worst() -> None:
    frames = Frames(4 << 20, 12)
    taken = [frames.alloc(0) for _ in range(frames.free)]
    for pfn in taken:
        if pfn % 2 == 0:
            frames.give(pfn, 0)
    now = fragmentation(frames)
    assert now.free_frames == 511 and now.free_blocks == (511, *[0] * 10) and now.largest_order == 0
    assert now.unusable == (0, *[1000] * 10)
    unusable, index = extfrag_text(frames)
    assert unusable == "Node 0, zone   Normal " + "0.000 " + "1.000 " * 10 + "\n"
    assert index.startswith("Node 0, zone   Normal -1.000  0.")


@pytest.mark.parametrize("page_size", [4096, 8192, 16384, 65536])
def test_internal_fragmentation_is_what_requests_leave_of_their_blocks(page_size: int) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    draw = random.Random(seed)
    frames = Frames(page_size << 13, page_size.bit_length() - 1)
    blocks = Blocks(frames)
    free = frames.free
    for _ in range(40):
        blocks.take(draw.randrange(1, page_size * 40))
    expected = sum((1 << b.order) * page_size - b.asked_bytes for b in blocks.taken.values())
    assert blocks.wasted_bytes == expected
    assert all(
        b.asked_bytes <= b.size_bytes and (b.order == 0 or b.asked_bytes > b.size_bytes // 2)
        for b in blocks.taken.values()
    )
    assert 0 < blocks.internal_fragmentation < 0.5 or any(b.order == 0 for b in blocks.taken.values())
    for pfn in list(blocks.taken):
        blocks.give(pfn)
    assert (frames.free, blocks.internal_fragmentation) == (free, 0.0)


def test_blocks_that_cannot_be() -> None:
    blocks = Blocks(Frames(4 << 20, 12))
    for size in (0, -1, (4 << 20) + 1):
        with pytest.raises(UserError):
            blocks.take(size)
    assert blocks.take(4 << 20) is None  # frame 0 is taken
    with pytest.raises(UserError):
        blocks.give(5)
