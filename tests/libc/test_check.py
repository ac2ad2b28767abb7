# SPDX-License-Identifier: LGPL-2.1-or-later
"""validate_heap: silent on every heap that the allocator makes, loud at every fault that is planted."""

import random
from collections.abc import Callable

import pytest

from memtwin.errors import ValidationError
from memtwin.kernel.addrspace import AddressSpace
from memtwin.libc.check import validate_heap
from memtwin.libc.malloc import Malloc


def a_malloc() -> Malloc:
    return Malloc(AddressSpace(window_bits=40), "2.36")


def a_heap(seed: int = 7) -> tuple[Malloc, list[int]]:
    """A heap with chunks of every kind; the blocks that live."""
    dice = random.Random(seed)
    malloc = a_malloc()
    live = [malloc.malloc(dice.choice((600, 1500, 1500, 1600, 3000, 9000, 200000))) for _ in range(600)]
    small = [malloc.malloc(dice.choice((24, 40, 100))) for _ in range(200)]
    dice.shuffle(live)
    for block in live[:300]:
        malloc.free(block)
    live.append(malloc.malloc(60000))
    for block in small[::2]:
        malloc.free(block)
    return malloc, live[300:] + small[1::2]


def word(malloc: Malloc, address: int) -> int:
    return int.from_bytes(malloc.space.read(address, 8), "little")


def put(malloc: Malloc, address: int, value: int) -> None:
    malloc.space.write(address, (value % (1 << 64)).to_bytes(8, "little"))


def free_chunk(malloc: Malloc, bin: int) -> int:
    """The first chunk of a bin."""
    return word(malloc, malloc.main_arena + 112 - 32 + 16 * bin + 16)


def some_bin(malloc: Malloc, bins: range) -> int:
    """A bin with at least two chunks."""
    for bin in bins:
        head = malloc.main_arena + 112 - 32 + 16 * bin
        if word(malloc, head + 16) != head and word(malloc, head + 24) != word(malloc, head + 16):
            return bin
    raise AssertionError("no such bin")


def test_counts_what_is_there() -> None:
    malloc, live = a_heap()
    faults = malloc.space.min_flt
    check = validate_heap(malloc)
    assert malloc.space.min_flt == faults
    assert check.bytes == malloc.mallinfo2()["arena"] - malloc.mallinfo2()["keepcost"]
    assert check.free_chunks == malloc.mallinfo2()["ordblks"] - 1
    assert check.cached > 100
    assert check.chunks > len(live)


def test_mapped_chunks() -> None:
    malloc, live = a_heap()
    keep = malloc.malloc(1 << 20)
    validate_heap(malloc, [block for block in [*live, keep] if block])
    with pytest.raises(ValidationError, match="mapped chunks"):
        validate_heap(malloc, live)


def test_threads_and_several_heaps() -> None:
    malloc = Malloc(AddressSpace(window_bits=40), tunables={"mmap_threshold": 1 << 26}, cpus=2)
    dice = random.Random(3)
    malloc.malloc(10)
    for tid in range(1, 6):
        malloc.thread_start(tid)
    blocks = []
    for _ in range(400):
        malloc.switch_thread(dice.randrange(6))
        blocks.append(malloc.malloc(dice.choice((30, 500, 5000, 1 << 20))))
        if dice.random() < 0.4:
            malloc.free(blocks.pop(dice.randrange(len(blocks))))
        validate_heap(malloc)
    malloc.thread_exit(3)
    malloc.switch_thread(0)
    assert validate_heap(malloc).cached


def test_foreign_sbrk_and_blocked_break() -> None:
    malloc = a_malloc()
    for turn in range(8):
        malloc.malloc(100000)
        if turn in (2, 4):
            malloc.program_sbrk(4096 * turn + 8)
        if turn == 6:
            malloc.morecore_fails = True
        validate_heap(malloc)


def plant_prev_size(malloc: Malloc) -> None:
    chunk = free_chunk(malloc, some_bin(malloc, range(64, 127)))
    size = word(malloc, chunk + 8) & ~7
    put(malloc, chunk + size, size + 16)


def plant_small_link(malloc: Malloc) -> None:
    chunk = free_chunk(malloc, some_bin(malloc, range(64, 127)))
    put(malloc, chunk + 24, chunk)


def plant_ring(malloc: Malloc) -> None:
    chunk = free_chunk(malloc, some_bin(malloc, range(64, 127)))
    put(malloc, chunk + 32, chunk + 64)


def plant_binmap(malloc: Malloc) -> None:
    bin = some_bin(malloc, range(64, 127))
    at = malloc.main_arena + 2144 + 8 * (bin >> 6)
    put(malloc, at, word(malloc, at) & ~(1 << (bin & 63)))


def plant_size(malloc: Malloc) -> None:
    put(malloc, malloc.tcache - 16 + 0x290 + 8, 1 << 40 | 1)


def plant_top(malloc: Malloc) -> None:
    top = word(malloc, malloc.main_arena + 96)
    put(malloc, top + 8, word(malloc, top + 8) + 4096)


def plant_system_mem(malloc: Malloc) -> None:
    put(malloc, malloc.main_arena + 2184, word(malloc, malloc.main_arena + 2184) - 4096)


def plant_count(malloc: Malloc) -> None:
    malloc.space.write(malloc.tcache, bytes([3, 0]))


def plant_key(malloc: Malloc) -> None:
    put(malloc, word(malloc, malloc.tcache + 128 + 8) + 8, 0)


def plant_cached_twice(malloc: Malloc) -> None:
    put(malloc, malloc.tcache + 128 + 8 * 2, word(malloc, malloc.tcache + 128 + 8))


def plant_fast(malloc: Malloc) -> None:
    put(malloc, malloc.main_arena + 16 + 8, word(malloc, malloc.main_arena + 16))


def plant_fast_flag(malloc: Malloc) -> None:
    malloc.space.write(malloc.main_arena + 8, bytes(4))


def plant_attached(malloc: Malloc) -> None:
    put(malloc, malloc.main_arena + 2176, 2)


def plant_unlisted(malloc: Malloc) -> None:
    bin = some_bin(malloc, range(64, 127))
    head = malloc.main_arena + 112 - 32 + 16 * bin
    put(malloc, head + 16, head)
    put(malloc, head + 24, head)


PLANTS = (
    (plant_prev_size, "prev_size behind it"),
    (plant_small_link, "its bk is"),
    (plant_ring, "ring of sizes"),
    (plant_binmap, "its bit in the map"),
    (plant_size, "does not fit into its memory"),
    (plant_top, "the heap has"),
    (plant_system_mem, "system_mem is"),
    (plant_count, "counts"),
    (plant_key, "without the key"),
    (plant_cached_twice, "more chunks than it counts"),
    (plant_fast, "fast bin 1 lists it"),
    (plant_fast_flag, "have_fastchunks"),
    (plant_attached, "threads are attached"),
    (plant_unlisted, "is in no bin"),
)


@pytest.mark.parametrize(("plant", "words"), PLANTS, ids=lambda value: getattr(value, "__name__", ""))
def test_finds_what_is_planted(plant: Callable[[Malloc], None], words: str) -> None:
    malloc, _ = a_heap()
    validate_heap(malloc)
    plant(malloc)
    with pytest.raises(ValidationError, match=words):
        validate_heap(malloc)


def test_a_dead_process_has_no_heap() -> None:
    malloc, live = a_heap()
    malloc.free(live[0] + 8)
    with pytest.raises(ValidationError, match="invalid pointer"):
        validate_heap(malloc)
