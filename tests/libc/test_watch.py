# SPDX-License-Identifier: LGPL-2.1-or-later
"""HeapWatch: what it notices, and that the heap is the same with and without it."""

import random

import pytest

from memtwin.errors import Aborted
from memtwin.libc.watch import HeapWatch
from memtwin.twin.machine import Machine
from memtwin.twin.process import Process


@pytest.fixture
def process() -> Process:
    return Machine("64 MiB").spawn()


def kinds(watch: HeapWatch) -> list[str]:
    return [finding.kind for finding in watch.findings]


def print_chars(process: Process, count: int, letter: bytes, forget: bool) -> bytes:
    """The chapter's example: a line of letters in a block of its own."""
    buffer = process.malloc(count + 1)
    process.write(buffer, letter * count + b"\n")
    line = process.read(buffer, count + 1)
    if not forget:
        process.free(buffer)
    return line


def test_print_chars_leaks_when_it_forgets(process: Process) -> None:
    watch = HeapWatch(process)
    assert print_chars(process, 5, b"X", forget=False) == b"XXXXX\n"
    assert watch.report() == ""
    for _ in range(3):
        print_chars(process, 5, b"X", forget=True)
    (leak,) = watch.leaks()
    assert (leak.bytes, len(leak.blocks)) == (18, 3)
    assert "test_watch.py" in leak.site
    assert "(print_chars)" in leak.site
    assert watch.findings == []


def test_use_after_free(process: Process) -> None:
    watch = HeapWatch(process)
    block = process.malloc(100)
    process.free(block)
    process.read(block + 8, 8)
    process.write(block, b"late")
    assert kinds(watch) == ["use after free", "use after free"]
    again = process.malloc(100)
    assert again == block
    process.write(again, bytes(100))
    assert len(watch.findings) == 2


def test_out_of_bounds(process: Process) -> None:
    watch = HeapWatch(process)
    first, second = process.malloc(21), process.malloc(21)
    process.write(first, bytes(21))
    assert watch.findings == []
    process.write(first, bytes(22))
    process.write(first + 20, bytes(16))
    process.read(second - 4, 2)
    process.read(first + 26, 1)
    assert kinds(watch) == ["out of bounds"] * 4
    assert "in its padding" in watch.findings[0].text
    assert "over the chunk behind it" in watch.findings[1].text


def test_size_mismatch_before_glibc_notices(process: Process) -> None:
    watch = HeapWatch(process)
    first, second = process.malloc(24), process.malloc(24)
    process.write(first, bytes(24) + (0x51).to_bytes(8, "little"))
    process.free(second)
    assert kinds(watch) == ["out of bounds", "size mismatch"]


def test_double_and_invalid_free_are_told_and_happen(process: Process) -> None:
    watch = HeapWatch(process)
    block, other = process.malloc(24), process.malloc(200)
    process.free(block)
    with pytest.raises(Aborted, match="double free detected in tcache 2"):
        process.free(block)
    assert kinds(watch) == ["double free"]
    process = Machine("64 MiB").spawn()
    watch = HeapWatch(process)
    other = process.malloc(200)
    with pytest.raises(Aborted, match=r"free\(\): invalid pointer"):
        process.free(other + 8)
    assert kinds(watch) == ["invalid free"]
    assert "8 bytes inside 200 bytes" in watch.findings[0].text


def test_realloc_moves_what_is_known(process: Process) -> None:
    watch = HeapWatch(process)
    block = process.malloc(24)
    process.malloc(24)
    moved = process.realloc(block, 4000)
    process.write(moved, bytes(4000))
    assert watch.findings == []
    process.read(block, 1)
    assert kinds(watch) == ["use after free"]
    process.realloc(moved, 0)
    assert [leak.bytes for leak in watch.leaks()] == [24]


def test_other_allocators_and_detaching(process: Process) -> None:
    heard: list[str] = []
    watch = HeapWatch(process, lambda finding: heard.append(finding.kind))
    pointer = process.malloc(8)
    assert process.posix_memalign(pointer, 64, 100) == 0
    block = process.read_u64(pointer)
    process.write(block, bytes(101))
    for other in (process.calloc(3, 7), process.memalign(64, 10), process.aligned_alloc(32, 32), process.valloc(1)):
        process.free(other)
    assert heard == ["out of bounds"]
    watch.detach()
    process.write(block, bytes(101))
    assert heard == ["out of bounds"]


def random_work(process: Process, seed: int) -> list[int]:
    """Addresses, and the faults that were counted."""
    dice = random.Random(seed)
    blocks: list[int] = []
    told = []
    for _ in range(1500):
        if blocks and dice.random() < 0.45:
            process.free(blocks.pop(dice.randrange(len(blocks))))
        else:
            size = dice.choice((10, 100, 1000, 5000, 200000))
            blocks.append(process.malloc(size))
            process.touch(blocks[-1], size)
        told += [*blocks[-1:], process.minflt, process.space.rss_pages]
    return told


def test_nothing_moves() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    plain, watched = Machine("256 MiB").spawn(), Machine("256 MiB").spawn()
    HeapWatch(watched)
    assert random_work(plain, seed) == random_work(watched, seed)
    assert plain.maps() == watched.maps()
