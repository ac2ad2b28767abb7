# SPDX-License-Identifier: LGPL-2.1-or-later
"""mallinfo, mallinfo2, malloc_stats and malloc_info against the real library after random work."""

import random
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.libc.sides import play, same

from memtwin.host.libcs import find_libc
from memtwin.host.player import Play
from memtwin.kernel.addrspace import AddressSpace
from memtwin.libc.malloc import Malloc
from memtwin.trace.schema import Op
from memtwin.verify.libc.profiles import PROFILES
from memtwin.verify.libc.sequences import generate

LOOKS = (Play.MALLINFO, Play.MALLINFO2, Play.MALLOC_STATS, Play.MALLOC_INFO)
ELSEWHERE = (Play.LIMIT, Play.STOP, Op.FORK, Op.THREAD_START, Op.THREAD_EXIT)


def looked_at(profile: str, seed: int, count: int, word: int = 8) -> npt.NDArray[Any]:
    """A random column with a look at the statistics every 50 calls."""
    column = generate(PROFILES[profile], seed, count, word)
    column = column[~np.isin(column["op"], ELSEWHERE)].copy()
    dice = random.Random(seed)
    for at in range(0, len(column), 50):
        column[at] = (dice.choice(LOOKS), 0, 0, 0, 0, 0)
    return column


@pytest.mark.parametrize("profile", ["tiny", "mixed", "large", "trim", "knobs"])
def test_equal_after_random_calls(any_libc: str, profile: str) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    host, twin, _ = play(any_libc, looked_at(profile, seed, 1000, find_libc(any_libc).word))
    same(host, twin)
    assert host.values and host.text


def test_before_the_first_call(any_libc: str) -> None:
    host, twin, _ = play(any_libc, "mallinfo()\nmallinfo2()\nmalloc_stats()\nmalloc_info(0)\nmalloc_info(1)\n")
    same(host, twin)
    assert host.results[-1] == (22, 0)


def test_ints_overflow_as_the_real_ones_do(libc: str) -> None:
    """4.5 GiB mapped: mallinfo and malloc_stats wrap, malloc_info does not."""
    script = (
        "p0 = malloc(3221225472)\np1 = malloc(1610612736)\nmallinfo()\nmallinfo2()\nmalloc_stats()\nmalloc_info(0)\n"
    )
    host, twin, malloc = play(libc, script)
    same(host, twin)
    mapped = malloc.mallinfo2()["hblkhd"]
    assert mapped > 1 << 32
    assert malloc.mallinfo()["hblkhd"] == mapped - (1 << 32)


def test_usable_size() -> None:
    """The chapter's example: 21 bytes asked, 24 usable; and none for a chunk that is free."""
    malloc = Malloc(AddressSpace(window_bits=40))
    block = malloc.malloc(21)
    assert malloc.malloc_usable_size(block) == 24
    assert malloc.malloc_usable_size(0) == 0
    large, _ = malloc.malloc(5000), malloc.malloc(10)
    malloc.free(large)
    assert malloc.malloc_usable_size(large) == 0


def test_totals_with_flag_bits() -> None:
    """malloc_info's totals are one too high for each chunk in a bin; mallinfo's are not."""
    malloc = Malloc(AddressSpace(window_bits=40))
    blocks = [malloc.malloc(2000) for _ in range(6)]
    for block in blocks[::2]:
        malloc.free(block)
    info = malloc.mallinfo2()
    assert info["fordblks"] == info["keepcost"] + 3 * 2016
    assert f'<total type="rest" count="4" size="{info["fordblks"] + 3}"/>' in malloc.malloc_info()
