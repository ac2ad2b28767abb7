# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the buddy allocator costs: memory lost inside blocks, and free memory lost between them.

Internal fragmentation: a block is a power of two frames, a request seldom is; the rest of the block is lost until it
is freed. External fragmentation: memory is free, but not in one piece; the figures for it are the kernel's own
(mm/vmstat.c, /sys/kernel/debug/extfrag).
"""

from __future__ import annotations

from dataclasses import dataclass

from memtwin.errors import UserError
from memtwin.kernel.flags import NO_FRAME
from memtwin.kernel.frames import Frames

MAX_ORDER = 10


@dataclass(frozen=True)
class Fragmentation:
    """External fragmentation at one moment, each tuple by order 0 to 10.

    free_blocks: free blocks. unusable: thousandths of the free memory that a request of that order cannot use.
    index: why such a request fails, from 0 (too little free memory) to 1000 (it lies in pieces); -1000: it does not.
    """

    free_frames: int
    free_blocks: tuple[int, ...]
    unusable: tuple[int, ...]
    index: tuple[int, ...]

    @property
    def largest_order(self) -> int:
        """The order of the largest free block; -1 when nothing is free."""
        return max((order for order, count in enumerate(self.free_blocks) if count), default=-1)


def fragmentation(frames: Frames) -> Fragmentation:
    """External fragmentation of a machine's frames now."""
    counts = frames.free_blocks()
    return Fragmentation(
        sum(count << order for order, count in enumerate(counts)),
        tuple(counts),
        tuple(unusable_index(counts, order) for order in range(MAX_ORDER + 1)),
        tuple(fragmentation_index(counts, order) for order in range(MAX_ORDER + 1)),
    )


def unusable_index(counts: list[int], order: int) -> int:
    """Thousandths of the free frames that lie in blocks smaller than `order` (unusable_free_index)."""
    free = sum(count << have for have, count in enumerate(counts))
    if free == 0:
        return 1000
    usable = sum(count << have for have, count in enumerate(counts) if have >= order)
    return (free - usable) * 1000 // free


def fragmentation_index(counts: list[int], order: int) -> int:
    """Whether a request of `order` fails for want of memory (near 0) or by fragmentation (near 1000).

    -1000 when it would not fail (__fragmentation_index).
    """
    if not any(counts):
        return 0
    if any(counts[order:]):
        return -1000
    free = sum(count << have for have, count in enumerate(counts))
    return 1000 - (1000 + free * 1000 // (1 << order)) // sum(counts)


def extfrag_text(frames: Frames) -> tuple[str, str]:
    """The texts of unusable_index and extfrag_index in /sys/kernel/debug/extfrag, for the one zone there is."""
    now = fragmentation(frames)
    head = f"Node 0, zone {'Normal':>8} "
    unusable = "".join(f"{index // 1000}.{index % 1000:03d} " for index in now.unusable)
    index = "".join(f"{_whole(value):>2}.{abs(value) % 1000:03d} " for value in now.index)
    return head + unusable + "\n", head + index + "\n"


def _whole(thousandths: int) -> int:
    """C's division by 1000, towards zero."""
    return -(-thousandths // 1000) if thousandths < 0 else thousandths // 1000


@dataclass(frozen=True)
class Block:
    """A block taken from the buddy allocator: its first frame, its order, and the bytes that were asked for."""

    frame: int
    order: int
    asked_bytes: int
    page_size: int

    @property
    def size_bytes(self) -> int:
        """Bytes of the whole block."""
        return self.page_size << self.order

    @property
    def wasted_bytes(self) -> int:
        """Bytes of the block that nobody asked for."""
        return self.size_bytes - self.asked_bytes


class Blocks:
    """Requests in bytes answered by whole blocks, as a kernel driver's would be; remembers what each asked for."""

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        self.taken: dict[int, Block] = {}

    def take(self, size: int) -> Block | None:
        """The smallest block that holds `size` bytes; None when no such block is free.

        UserError: a size below 1 or above the largest block.
        """
        page = 1 << self.frames.page_shift
        order = max((size - 1).bit_length() - self.frames.page_shift, 0)
        if size < 1 or order > MAX_ORDER:
            raise UserError(f"a block of {size} bytes: from 1 to {page << MAX_ORDER} there are")
        frame = self.frames.alloc(order)
        if frame == NO_FRAME:
            return None
        block = Block(frame, order, size, page)
        self.taken[frame] = block
        return block

    def give(self, frame: int) -> Block:
        """Free the block that begins at `frame`; it joins its buddies. UserError: none was taken there."""
        if frame not in self.taken:
            raise UserError(f"no block begins at frame {frame}: taken are those at {sorted(self.taken)[:8]}")
        block = self.taken.pop(frame)
        self.frames.give(frame, block.order)
        return block

    @property
    def wasted_bytes(self) -> int:
        """Internal fragmentation, bytes: what all blocks taken hold beyond what was asked for."""
        return sum(block.wasted_bytes for block in self.taken.values())

    @property
    def internal_fragmentation(self) -> float:
        """The share of the memory taken that is wasted, 0 to 1; 0 when nothing is taken."""
        size = sum(block.size_bytes for block in self.taken.values())
        return self.wasted_bytes / size if size else 0.0
