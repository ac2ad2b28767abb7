# SPDX-License-Identifier: LGPL-2.1-or-later
"""Views of a process: they agree with what the process can be asked otherwise."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from memtwin import Machine, MemoryFault, Process, UserError
from memtwin.constants import CONSTANTS as C
from memtwin.kernel.profile import profile_named
from memtwin.kernel.tlb import Tlb
from memtwin.pictures import regions
from memtwin.twin import observe
from memtwin.units import format_size
from memtwin.views import Region

HUGE = 2 << 20


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


@pytest.mark.parametrize("reserved", [False, True])
def test_the_walk_of_a_huge_page_ends_at_the_entry_that_maps_it(reserved: bool) -> None:
    process = Machine(ram="64 MiB", huge_pages=2 if reserved else 0).spawn()
    if reserved:
        start = process.mmap(length=HUGE, flags=C["MAP_PRIVATE"] | C["MAP_ANONYMOUS"] | C["MAP_HUGETLB"])
    else:
        start = process.mmap(length=2 * HUGE) + HUGE - 1 & -HUGE
        process.madvise(start, HUGE, C["MADV_HUGEPAGE"])
    process.write(start, b"x")
    view = process.walk(start + 0x12345)
    assert [(level.name, level.shift) for level in view.levels] == [("PGD", 39), ("PUD", 30), ("PMD", 21)]
    assert (view.offset, view.offset_bits, view.index_bits) == (0x12345, 21, 9)
    assert view.frame == process.pages(start + 0x12345, 1).pages[0].frame
    assert f"One entry maps the huge page of 2.00 MiB at {start:#x}" in process.explain(start + 0x12345)
    assert "bits 20 to 0" in view.svg() and "bits 29 to 21" in view.svg()
    process.munmap(start + 4096, 4096)  # a reserved one stays whole: it has no small pages
    assert len(process.walk(start).levels) == (3 if reserved else 4)


def test_an_early_end_of_the_walk_names_the_bits_of_each_level(process: Process) -> None:
    view = process.walk(0x1234567000)
    assert view.frame is None and len(view.levels) < 4 and "bits 47 to 39" in view.svg()


def stack_of(process: Process) -> Region:
    return next(region for region in process.address_space().regions if region.kind == "stack")


def happens(process: Process, address: int, access: str = "read") -> tuple[str, int]:
    """What an access does: the error's class and code, or "" and how many faults it took."""
    before = process.minflt
    try:
        _ = process.read(address, 1) if access == "read" else process.write(address, b"x")
    except MemoryFault as fault:
        return type(fault).__name__, fault.code
    return "", process.minflt - before


def test_what_is_explained_of_an_address_is_what_an_access_does() -> None:
    def told(say: Callable[[Process], int]) -> tuple[str, tuple[str, int], tuple[str, int]]:
        one, two = (Machine(ram="64 MiB").spawn() for _ in range(2))
        at = say(one)
        assert say(two) == at
        return one.explain(at), happens(one, at), happens(two, at, "write")

    def guard(p: Process) -> int:
        p.madvise(start := p.mmap(length=8192), 4096, C["MADV_GUARD_INSTALL"])
        return start

    def past_end(p: Process) -> int:
        return p.mmap(length=8192, flags=C["MAP_SHARED"], fd=p.memfd_create("short")) + 4096

    nothing, forbidden = ("SegmentationFault", 1), ("SegmentationFault", 2)
    assert told(lambda p: 1 << 47)[1:] == (("SegmentationFault", 128),) * 2
    assert "is no address: the processor translates 48 bits" in told(lambda p: 1 << 47)[0]
    assert "is the kernel's" in told(lambda p: -4096 & (1 << 64) - 1)[0]
    assert told(lambda p: -4096 & (1 << 64) - 1)[1:] == (nothing, nothing)
    assert "A guard page" in told(guard)[0] and told(guard)[1:] == (nothing, nothing)
    assert "a bus error" in told(past_end)[0] and told(past_end)[1:] == (("BusError", 2),) * 2
    assert "A write is a segmentation fault (code 2)" in told(lambda p: p.mmap(length=4096, prot=C["PROT_READ"]))[0]
    assert told(lambda p: p.mmap(length=4096, prot=C["PROT_READ"]))[1:] == (("", 1), forbidden)
    assert "No access is allowed" in told(lambda p: p.mmap(length=4096, prot=0))[0]
    assert told(lambda p: p.mmap(length=4096, prot=0))[1:] == (forbidden, forbidden)
    assert "grows down to an access by itself" in told(lambda p: stack_of(p).start - 100_000)[0]
    assert told(lambda p: stack_of(p).start - 100_000)[1:] == (("", 1), ("", 1))
    assert "RLIMIT_STACK is 8.00 MiB" in told(lambda p: stack_of(p).end - (9 << 20))[0]
    assert told(lambda p: stack_of(p).end - (9 << 20))[1:] == (nothing, nothing)


def test_a_stack_that_meets_a_mapping_is_explained_by_its_guard_gap(process: Process) -> None:
    stack = stack_of(process)
    below = stack.start - (2 << 20)
    process.mmap(below, length=4096, flags=C["MAP_PRIVATE"] | C["MAP_ANONYMOUS"] | C["MAP_FIXED"])
    assert "keeps 1.00 MiB free to the mapping below" in process.explain(below + 8192)
    assert happens(process, below + 8192) == ("SegmentationFault", 1)


def test_what_may_only_be_executed_is_explained_by_its_protection_key() -> None:
    profile = replace(profile_named("linux-6.18-x86_64"), protection_keys=True)
    p = Machine(ram="64 MiB", profile=profile).spawn()
    page = p.mmap(length=4096, prot=C["PROT_EXEC"])
    assert "may only be executed" in p.explain(page)
    assert happens(p, page) == ("SegmentationFault", 4)


def test_a_page_of_a_file_is_found_in_the_file() -> None:
    cat = Machine().spawn("/bin/cat")
    text = next(region for region in cat.address_space().regions if region.kind == "text")
    assert "found in the file" in cat.explain(text.end - 1)


def test_all_that_is_explained_has_korean_words(process: Process) -> None:
    stack = stack_of(process)
    for address in (0, 1 << 47, -4096, stack.start - 8, stack.end - (9 << 20), process.mmap(length=4096, prot=1)):
        assert re.search("[가-힣]", process.explain(address, "ko"))
