# SPDX-License-Identifier: LGPL-2.1-or-later
"""HeapWalk: mapped blocks, whose last bytes are not the program's since 2.43."""

from __future__ import annotations

import numpy as np
import pytest

from memtwin.kernel.addrspace import AddressSpace
from memtwin.libc.malloc import Malloc
from memtwin.libc.release import RELEASES
from memtwin.replay.walk import HeapWalk

KINDS = ("live", "overhead", "tcache", "fast_bins", "free", "top", "mapped", "page_rounding")
WRITE = 2


@pytest.mark.parametrize("release", RELEASES)
def test_a_mapped_block_is_dealt_to_the_byte(release: str) -> None:
    space = AddressSpace(window_bits=40)
    malloc = Malloc(space, release)
    block = malloc.malloc(300_000)
    start = block - 16
    size = malloc.mmapped_mem
    space.touch(start, size, WRITE)
    walk = HeapWalk(space, np.zeros(0, np.uint64))
    walk.mapped_chunk(start, start + size, 8 if malloc.mapped_like_heap else 0)
    present, absent = walk.tallies()
    lines = dict(zip(KINDS, present, strict=True))
    assert sum(present) == size and not any(absent)
    assert lines["mapped"] == malloc.malloc_usable_size(block)
    assert lines["overhead"] == size - malloc.malloc_usable_size(block)
