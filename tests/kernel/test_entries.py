# SPDX-License-Identifier: LGPL-2.1-or-later
"""Lists of entries are what a walk over the whole page table finds."""

from __future__ import annotations

import pytest

from memtwin import Machine, Process
from memtwin.kernel.entries import places, touched
from memtwin.kernel.flags import PTE_MAPPED, PTE_SWAP

READ, MADV_PAGEOUT, MADV_HUGEPAGE = 1, 21, 14


@pytest.fixture(params=[4096, 16384])
def process(request: pytest.FixtureRequest) -> Process:
    """Pages that are own, read only, swapped out, beyond all access, and absent ones between them."""
    page = request.param
    found = Machine(ram="64 MiB", swap="16 MiB", page_size=page).spawn()
    start = found.mmap(length=700 * page)
    for place in range(0, 600, 3):
        found.touch(start + place * page, page)
    found.read(start + page, 1)
    found.madvise(start + 30 * page, 60 * page, MADV_PAGEOUT)
    found.mprotect(start + 300 * page, 30 * page, 0)
    found.fork()
    return found


def test_touched_pages_of_a_range(process: Process) -> None:
    known = [address for address, _, _ in process.space.pages.entries()]
    page = process.machine.page_size
    for start, end in ((0, 1 << 47), (known[40], known[90]), (known[40] + page, known[40] + 2 * page), (0, known[0])):
        assert touched(process.space.pages, start, end) == [at for at in known if start <= at < end]


def test_places_of_frames_and_slots(process: Process) -> None:
    shift = process.space.page_shift
    for bits in (PTE_MAPPED, PTE_SWAP):
        known = [(at, entry >> shift) for at, entry, _ in process.space.pages.entries() if entry & bits]
        assert len(known) > 10
        numbers = sorted(number for _, number in known)
        for first, last in ((0, 1 << 40), (numbers[3], numbers[-3]), (numbers[0], numbers[0])):
            expected = [(at, number) for at, number in known if first <= number < last]
            assert places(process.space.pages, bits, first, last) == expected


def test_each_page_of_a_huge_one_has_its_entry() -> None:
    process = Machine(ram="64 MiB").spawn()
    start = process.mmap(length=8 << 20)
    process.madvise(start, 8 << 20, MADV_HUGEPAGE)
    at = (start + (2 << 20) - 1) & -(2 << 20)
    process.touch(at, 4096)
    assert process.space.pages.huge == 1
    assert len(touched(process.space.pages, at, at + (2 << 20))) == 512
    (frame,) = {number - (address - at >> 12) for address, number in places(process.space.pages, PTE_MAPPED, 0, 1 << 40)
                if at <= address < at + (2 << 20)}  # fmt: skip
    assert frame % 512 == 0
