# SPDX-License-Identifier: LGPL-2.1-or-later
"""Views of a process: they agree with what the process can be asked otherwise."""

from __future__ import annotations

import pytest

from memtwin import Machine, Process, UserError
from memtwin.kernel.tlb import Tlb
from memtwin.pictures import regions
from memtwin.twin import observe
from memtwin.units import format_size


@pytest.fixture
def process() -> Process:
    return Machine(ram="64 MiB").spawn(cpus=2)


def test_the_walk_ends_at_the_frame_of_the_page(process: Process) -> None:
    p = process.malloc(100)
    assert process.walk(p).frame == process.pages(p, 1).pages[0].frame is not None
    assert process.walk(p + (1 << 20)).frame is None
    indices = [level.index for level in process.walk(p).levels]
    assert sum(index << 39 - 9 * place for place, index in enumerate(indices)) == p & -4096


@pytest.mark.parametrize("page_size", [4096, 16384, 65536])
def test_what_regions_have_in_memory_is_what_smaps_says(page_size: int) -> None:
    process = Machine(ram="64 MiB", page_size=page_size).spawn()
    process.touch(process.mmap(length=5 * page_size), 3 * page_size)
    view = process.address_space()
    resident = [int(line.split()[1]) << 10 for line in process.smaps().splitlines() if line.startswith("Rss:")]
    assert [region.resident * view.page_size for region in view.regions] == resident
    assert format_size(3 * page_size) + " of" in regions(view)


def test_pages_are_absent_then_zero_then_own(process: Process) -> None:
    p = process.mmap(length=4096)
    states = [process.pages(p, 1).pages[0].state]
    process.read(p, 1)
    states.append(process.pages(p, 1).pages[0].state)
    process.write(p, b"x")
    states.append(process.pages(p, 1).pages[0].state)
    assert states == ["absent", "zero", "anonymous"]


def test_shared_after_fork_and_apart_after_a_write(process: Process) -> None:
    p = process.mmap(length=4096)
    process.write(p, b"x")
    child = process.fork()
    assert process.pages(p, 1).pages[0].state == child.pages(p, 1).pages[0].state == "shared"
    assert f"process {child.pid} maps too, and a write copies" in process.explain(p)
    child.write(p, b"y")
    assert process.pages(p, 1).pages[0].frame != child.pages(p, 1).pages[0].frame


def test_the_chunks_of_a_heap_fill_it(process: Process) -> None:
    pointers = [process.malloc(size) for size in (10, 100, 1000, 5000, 50000)]
    for pointer in pointers[::2]:
        process.free(pointer)
    view = process.heap({pointers[1]: "mine"})
    ends = [chunk.address + chunk.size for chunk in view.chunks]
    assert [chunk.address for chunk in view.chunks[1:]] == ends[:-1] and ends[-1] == view.end
    assert [chunk.label for chunk in view.chunks if chunk.label] == ["mine", "top"]
    free = {chunk.address for chunk in view.chunks if chunk.list}
    assert free == {address for row in view.lists for address in row.chunks} and len(free) == 3
    assert sum(chunk.size for chunk in view.chunks) == process.mallinfo2()["arena"]


def test_heaps_of_threads(process: Process) -> None:
    mine = process.malloc(40)
    process.free(mine)
    thread = process.thread()
    block = thread.malloc(300)
    thread.free(thread.malloc(50))
    main, other = process.heaps()
    assert main.at(block) is None and other.at(block) is not None
    assert [row.name for row in main.lists] == ["tcache 0x30", "tcache 0x40 of thread 1"]
    assert "number 1 of 1 on the list 'tcache 0x30'" in process.explain(mine)
    assert other.chunks[-1].state == "top" and other.arena == "thread 1"
    assert "thread 1" in process.explain(other.chunks[-1].pointer)


def test_a_mapped_block_is_found_from_any_of_its_bytes(process: Process) -> None:
    p = process.malloc(300_000)
    assert "byte 200000 of its block" in process.explain(p + 200_000)


def test_bytes_are_seen_without_an_access(process: Process) -> None:
    p = process.mmap(length=4096)
    assert process.word_at(p).data == bytes(8) and process.pages(p, 1).pages[0].state == "absent"
    process.u64[p + 8] = 0x0102030405060708
    assert process.word_at(p + 8).data == bytes(range(8, 0, -1))
    with pytest.raises(UserError):
        process.word_at(p + 4090)


def test_a_tlb_shows_pages_and_frames(process: Process) -> None:
    p = process.mmap(length=8192)
    process.touch(p, 8192)
    buffer = Tlb("textbook")
    buffer.access([p, p + 4096, p], process.space)
    view = observe.tlb(buffer, process)
    frames = [page.frame for page in process.pages(p, 2).pages]
    assert view.sets == (((p >> 12, frames[0]), ((p >> 12) + 1, frames[1])),)
    assert (view.hits, view.misses) == (1, 2)
    assert view.svg().count("→") == 2


def test_a_dead_process_has_no_pages_left_to_see(process: Process) -> None:
    p = process.malloc(1)
    with pytest.raises(Exception, match="exit status 3"):
        process.exit(3)
    assert process.pages(p, 1).pages[0].state == "absent" and process.touched_pages().pages == ()
    with pytest.raises(Exception, match="has ended"):
        process.walk(p)


def test_the_frames_of_a_machine_and_who_maps_them(process: Process) -> None:
    p = process.malloc(100)
    child = process.fork()
    machine = process.machine
    frames = {frame.number: frame for frame in machine.frames(0, 4096).frames}
    shared = frames[process.pages(p, 1).pages[0].frame or 0]
    assert shared.kind == "shared" and {pid for pid, _ in shared.owners} == {process.pid, child.pid}
    assert shared.references == 2 == len(shared.owners)
    used = sum(frame.kind != "free" for frame in machine.frames(0, 1 << 20).frames)
    assert used == machine.frames().total - machine.frames().free


def test_the_buddy_view_adds_up(process: Process) -> None:
    view = process.machine.buddy()
    blocks = [(first, 1 << order) for order, firsts in enumerate(view.free) for first in firsts]
    assert all(first % size == 0 for first, size in blocks)
    assert sum(size for _, size in blocks) == process.machine.frames().free
    p = process.mmap(length=5 * 4096)
    process.touch(p, 5 * 4096)
    assert process.machine.buddy() != view and "mt-changed" in process.machine.buddy().svg(view)


def test_the_swap_device_says_whose_pages_it_holds() -> None:
    machine = Machine(ram="16 MiB", swap="1 MiB")
    process = machine.spawn()
    pages = process.mmap(length=8 * 4096)
    process.touch(pages, 8 * 4096)
    before = observe.paging(process, pages, 8)
    assert len(before.swap.owners) == 256 and not any(before.swap.owners)
    process.madvise(pages, 4 * 4096, 21)
    after = observe.paging(process, pages, 8)
    out = [page for page in after.pages.pages if page.state == "swapped"]
    assert [owner for owner in after.swap.owners if owner] == [(1, page.address) for page in out]
    assert after.svg(before).startswith("<svg") and after.swap.svg(before.swap).startswith("<svg")
