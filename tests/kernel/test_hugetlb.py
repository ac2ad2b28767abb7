# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reserved huge pages on the twin alone: the pool, bytes wherever they lie, and texts. Against the real kernel:
tests/verify/test_huge.py."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from memtwin import Machine as Twin
from memtwin.errors import BusError, UserError, ValidationError
from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.check import validate_machine
from memtwin.kernel.hugepool import validate_pool
from memtwin.kernel.machine import Machine
from memtwin.kernel.meminfo import huge_pages, meminfo, meminfo_text
from memtwin.kernel.overcommit import Overcommit
from memtwin.kernel.smaps import smaps
from memtwin.kernel.status import pagemap, status
from memtwin.kernel.tlb import Tlb

PAGE, HUGE, GIB = 4096, 2 << 20, 1 << 30
PRIVATE, SHARED, NORESERVE, FIXED = 0x40022, 0x40021, 0x4000, 0x10
READ, WRITE, EINVAL, ENOMEM = 1, 2, 22, 12


def machine_and_space(pages: int = 8, **settings: object) -> tuple[Machine, AddressSpace]:
    machine = Machine("256 MiB", huge_pages=pages, **settings)  # type: ignore[arg-type]
    return machine, AddressSpace(machine, window_bits=32)


def pool(machine: Machine) -> tuple[int, int, int]:
    """HugePages_Total, _Free, _Rsvd."""
    counts = huge_pages(machine)
    return counts["HugePages_Total"], counts["HugePages_Free"], counts["HugePages_Rsvd"]


def test_a_mapping_takes_promises_and_accesses_take_pages() -> None:
    machine, space = machine_and_space()
    at = space.sys_mmap(0, 3 * HUGE - 1, 3, PRIVATE, None, 0)
    assert at % HUGE == 0
    assert pool(machine) == (8, 8, 3)
    assert space.touch(at + 5 * PAGE, 1, READ) == 1
    assert pool(machine) == (8, 7, 2)
    assert space.touch(at, HUGE, READ) == 0  # all of it came with the first page
    assert space.touch(at, HUGE, WRITE) == 1  # read first, it may not be written yet
    assert space.touch(at + HUGE, 2 * HUGE, WRITE) == 2
    assert (space.reserved_pages, space.rss_pages) == (3 * 512, 0)
    assert space.sys_munmap(at, PAGE) == -EINVAL
    assert space.sys_munmap(at + HUGE, 2 * HUGE) == 0
    validate_machine(machine, [space])
    space.sys_munmap(at, HUGE)
    assert pool(machine) == (8, 8, 0)


def test_without_a_promise_an_empty_pool_is_sigbus_at_the_access() -> None:
    machine, space = machine_and_space(2)
    assert space.sys_mmap(0, 3 * HUGE, 3, PRIVATE, None, 0) == -ENOMEM
    at = space.sys_mmap(0, 3 * HUGE, 3, PRIVATE | NORESERVE, None, 0)
    space.write(at, b"1")
    space.write(at + HUGE, b"2")
    with pytest.raises(BusError) as caught:
        space.write(at + 2 * HUGE + 7, b"3")
    assert (caught.value.address, caught.value.code) == (at + 2 * HUGE + 7, 2)
    assert "huge page" in str(caught.value)
    assert pool(machine) == (2, 0, 0)


def test_a_parent_takes_its_page_from_a_child_when_the_pool_is_empty() -> None:
    machine, parent = machine_and_space(2)
    at = parent.sys_mmap(0, 2 * HUGE, 3, PRIVATE, None, 0)
    parent.write(at, b"mine")
    parent.write(at + HUGE, b"too")
    child = parent.fork(window_bits=32)
    with pytest.raises(BusError):
        child.write(at, b"copy")
    parent.write(at, b"kept")
    assert parent.read(at, 4) == b"kept"
    assert child.read(at + HUGE, 3) == b"too"
    with pytest.raises(BusError):
        child.read(at, 4)
    validate_machine(machine, [parent, child])
    child.release_all()
    parent.release_all()
    assert pool(machine) == (2, 2, 0)


def test_copies_have_their_bytes_and_windows_that_fold_too() -> None:
    machine, parent = machine_and_space(8)
    at, fold = 1 << 30, (1 << 30) + (1 << 32)  # both fold onto the same place in a window of 4 GiB
    for place in (at, fold):
        assert parent.sys_mmap(place, HUGE, 3, PRIVATE | FIXED, None, 0) == place
        parent.write(place + 3 * PAGE, b"%x" % place)
    child = parent.fork(window_bits=32)
    child.write(at + 3 * PAGE, b"child")
    parent.write(fold + 3 * PAGE, b"again")
    assert parent.read(at + 3 * PAGE, 8) == b"40000000"
    assert child.read(at + 3 * PAGE, 8) == b"child000"
    assert parent.read(fold + 3 * PAGE, 9) == b"again0000"
    assert child.read(fold + 3 * PAGE, 9) == b"140000000"
    moved = parent.sys_mremap(fold, HUGE, HUGE, 3, 4 * GIB)
    assert parent.read(moved + 3 * PAGE, 5) == b"again"
    validate_machine(machine, [parent, child])


def test_shared_memory_is_the_file_s() -> None:
    machine, parent = machine_and_space(4)
    at = parent.sys_mmap(0, 2 * HUGE, 3, SHARED, None, 0)
    parent.write(at, b"seen")
    child = parent.fork(window_bits=32)
    assert child.reserved_pages == 0
    assert child.read(at, 4) == b"seen"
    child.write(at + HUGE, b"too")
    parent.sys_munmap(at, 2 * HUGE)
    assert pool(machine) == (4, 2, 0)
    validate_machine(machine, [parent, child])
    child.sys_munmap(at, 2 * HUGE)
    assert pool(machine) == (4, 4, 0)
    validate_machine(machine, [parent, child])


def test_pages_of_a_gibibyte() -> None:
    machine = Machine("4 GiB", huge_pages={"1 GiB": 2, HUGE: 3})
    assert [(size, one.total) for size, one in machine.huge_pools.items()] == [(HUGE, 3), (GIB, 2)]
    space = AddressSpace(machine, window_bits=32)
    at = space.sys_mmap(0, PAGE, 3, PRIVATE | 30 << 26, None, 0)
    assert at % GIB == 0
    tables = space.pages.counted()
    space.write(at + GIB - 1, b"x")
    assert space.pages.counted() == tables + 1  # the one whose entry maps it
    assert (space.read(at + GIB - 1, 1), space.reserved_pages) == (b"x", GIB // PAGE)
    assert space.sys_munmap(at, HUGE) == -EINVAL
    child = space.fork(window_bits=32)
    child.write(at, b"y")
    assert space.read(at, 1) == b"\0"
    validate_machine(machine, [space, child])
    assert huge_pages(machine, GIB)["HugePages_Free"] == 0


def test_texts_of_proc() -> None:
    machine, space = machine_and_space()
    at = space.sys_mmap(0, 2 * HUGE, 3, PRIVATE, None, 0)
    space.touch(at, 2 * HUGE, WRITE)
    child = space.fork(window_bits=32)
    child.touch(at, 1, WRITE)
    text = smaps(space)
    for line in ("KernelPageSize:     2048 kB", "MMUPageSize:        2048 kB", "Shared_Hugetlb:     2048 kB",
                 "Private_Hugetlb:    2048 kB", "Rss:                   0 kB"):  # fmt: skip
        assert line in text
    assert "rw-p 00000000 00:" in text and "/anon_hugepage (deleted)" in text
    assert re.search(r"^VmFlags: rd wr mr mw me de ht $", text, re.MULTILINE)
    assert "HugetlbPages:\t    4096 kB" in status(space)
    entries = pagemap(space, at, 1024)
    assert [entry >> 56 & 1 for entry in (entries[0], entries[511], entries[512], entries[1023])] == [1, 1, 0, 0]
    assert entries[513] & (1 << 55) - 1 == (entries[512] & (1 << 55) - 1) + 1
    host = {line.partition(":")[0]: line for line in Path("/proc/meminfo").read_text().splitlines()}
    lines = [line for line in meminfo_text(machine).splitlines() if line.startswith("Huge")]
    assert [line.partition(":")[0] for line in lines] == [name for name in host if name.startswith("Huge")]
    assert [len(line) for line in lines] == [len(host[line.partition(":")[0]]) for line in lines]
    assert lines[0].split() == ["HugePages_Total:", "8"]
    assert lines[-1].split() == ["Hugetlb:", "16384", "kB"]


def test_they_are_no_ordinary_memory() -> None:
    """Not free, not in AnonPages, not promised by overcommit, and CommitLimit is of the rest."""
    plain = Machine("256 MiB", overcommit=2)
    machine, space = machine_and_space(8, overcommit=2)
    assert machine.overcommit.limit() == (plain.frames.total - 8 * 512) // 2
    before = meminfo(machine)
    at = space.sys_mmap(0, 4 * HUGE, 3, PRIVATE, None, 0)
    space.touch(at, 4 * HUGE, WRITE)
    after = meminfo(machine)
    for name in ("AnonPages", "Committed_AS", "Shmem", "Cached", "Mapped"):
        assert after[name] == before[name], name
    assert before["MemFree"] - after["MemFree"] == after["PageTables"] - before["PageTables"]
    assert isinstance(machine.overcommit, Overcommit)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (-1, "0 or more"), (True, "0 or more"), ("8", "huge_pages"), ({"4 MiB": 1}, "there are none of 4 MiB"),
        ({"2 MiB": "many"}, "0 or more"), (1000, "RAM holds"), ({"1 GiB": 1}, "RAM holds"), (2.5, "0 or more"),
    ],
)  # fmt: skip
def test_a_bad_pool_is_told(wanted: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Twin("256 MiB", huge_pages=wanted)  # type: ignore[arg-type]


def test_a_broken_pool_is_found() -> None:
    machine, _ = machine_and_space()
    usual = machine.huge_pools[HUGE]
    validate_pool(usual)
    usual.free.append(usual.free[0])
    with pytest.raises(ValidationError, match="twice"):
        validate_pool(usual)


def test_a_leaked_huge_page_is_found() -> None:
    machine, space = machine_and_space()
    validate_machine(machine, [space])
    machine.huge_pools[HUGE].free.pop()
    with pytest.raises(ValidationError, match="leaked"):
        validate_machine(machine, [space])


def test_before_6_9_a_page_that_goes_is_promised_to_nobody() -> None:
    for profile, reserved in (("linux-6.1-x86_64", 0), ("linux-6.18-x86_64", 1)):
        machine, space = machine_and_space(2, profile=profile)
        at = space.sys_mmap(0, HUGE, 3, PRIVATE, None, 0)
        space.touch(at, 1, WRITE)
        assert space.sys_madvise(at, HUGE, 4) == 0
        assert pool(machine) == (2, 2, reserved)
        space.release_all()
        assert pool(machine) == (2, 2, 0)


def test_a_tlb_holds_one_with_one_entry_and_frames_know_who_maps_them() -> None:
    _, space = machine_and_space()
    at = space.sys_mmap(0, HUGE, 3, PRIVATE, None, 0)
    space.touch(at, 1, WRITE)
    buffer = Tlb(page_size=PAGE, levels=4)
    buffer.access(np.arange(at, at + HUGE, PAGE, dtype=np.uint64), space)
    assert (buffer.counts.walks, buffer.counts.accesses) == (1, 512)
    process = Twin("64 MiB", huge_pages=1).spawn()
    place = process.mmap(length=HUGE, flags=PRIVATE)
    process.write(place, b"x")
    frames = [frame for address, frame in process.mapped_frames() if place <= address < place + HUGE]
    assert frames == list(range(frames[0], frames[0] + 512))
