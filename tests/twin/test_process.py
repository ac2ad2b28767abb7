# SPDX-License-Identifier: LGPL-2.1-or-later
"""Process: C's results, errors as they are, and looking that changes nothing."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from memtwin import Aborted, Exited, Machine, Process, SegmentationFault, UserError
from memtwin.constants import CONSTANTS as C
from memtwin.typed import letter_of


@pytest.fixture
def process() -> Process:
    return Machine(ram="64 MiB").spawn()


def test_addresses_and_faults_are_those_of_a_small_program(process: Process) -> None:
    assert process.malloc(100) == 0x555555559010
    assert (process.minflt, process.majflt, process.errno) == (1, 0, 0)
    assert process.malloc(200000) == 0x7FFFF7D89010


def test_failures_return_what_c_returns_and_set_errno(process: Process) -> None:
    assert process.malloc(-1) == 0 and process.errno == C["ENOMEM"]
    assert process.mmap(length=0) == -1 and process.errno == C["EINVAL"]
    assert process.munmap(1, 4096) == -1 and process.errno == C["EINVAL"]
    assert process.malloc(10) and process.errno == 0


def test_posix_memalign_stores_its_result(process: Process) -> None:
    slot = process.malloc(8)
    assert process.posix_memalign(slot, 48, 100) == C["EINVAL"]
    assert process.posix_memalign(slot, 64, 100) == 0
    assert process.pointer[slot] % 64 == 0


def test_what_kills_a_process_is_raised_and_it_is_gone(process: Process) -> None:
    with pytest.raises(SegmentationFault) as fault:
        process.read(0x10, 1)
    assert (fault.value.address, fault.value.code, fault.value.access) == (0x10, 1, "read")
    assert process.ended is fault.value and process.rss == 0
    assert process.machine.processes == {}
    with pytest.raises(UserError, match="has ended"):
        process.malloc(1)


def test_messages_and_exits(process: Process) -> None:
    other = process.machine.spawn()
    with pytest.raises(Aborted, match=r"free\(\): invalid pointer"):
        process.free(process.malloc(64) + 8)
    with pytest.raises(Exited, match="out of memory") as exit:
        other.xmalloc(1 << 62)
    assert exit.value.status == 1


def test_helpers_and_texts(process: Process) -> None:
    p = process.xmalloc0(100)
    assert process.read(p, 100) == bytes(100)
    process.memset(p, ord("X"), 5)
    assert process.string(p) == b"XXXXX"
    process.memcpy(p + 50, p, 6)
    assert process.string(p + 50) == b"XXXXX"


def test_typed_looks(process: Process) -> None:
    p = process.calloc(1, 64)
    process.u32[p + 1] = 0xAABBCCDD
    assert process.u8[p + 4] == 0xAA and process.i32[p + 1] < 0
    process.f64[p + 8] = 2.5
    assert process.f64[p + 8] == 2.5
    row = process.array("unsigned short", p + 32, 4)
    row[-1] = 7
    assert list(row) == [0, 0, 0, 7] and row[1:] == [0, 0, 7] and len(row) == 4 and row.size == 8
    assert row.address_of(4) == p + 40
    assert letter_of("long", 4) == "i" and letter_of("long", 8) == "q"
    for wrong in (lambda: row[4], lambda: process.array("int8", p, 1), lambda: process.array("int", p, -1)):
        with pytest.raises((IndexError, UserError)):
            wrong()
    with pytest.raises(UserError, match="does not fit"):
        process.u8[p] = 256


def test_bad_arguments_are_told_in_one_line(process: Process) -> None:
    for wrong in (lambda: process.malloc("x"), lambda: process.read(0, -1), lambda: process.open("/etc/passwd")):  # type: ignore[arg-type]
        with pytest.raises(UserError) as refusal:
            wrong()
        assert "\n" not in str(refusal.value)
    assert process.ended is None


def test_looking_costs_no_fault_and_changes_nothing(process: Process) -> None:
    p = process.malloc(5000)
    process.free(process.malloc(24))
    before = process.space.min_flt, process.maps(), process.rss
    views = [process.address_space(), process.pages(p), process.touched_pages(), process.heap(), process.walk(p)]
    assert all(view.svg().startswith("<svg") and view._repr_svg_() for view in views)
    console = Console(file=StringIO())
    for view in views:
        console.print(view)
    process.explain(p)
    assert (process.space.min_flt, process.maps(), process.rss) == before


def test_reprs_are_short(process: Process) -> None:
    p = process.malloc(24)
    assert repr(process.heap().at(p)) == "<Chunk 0x555555559000 of 32 bytes, live>"
    assert repr(process.address_space().at(p)) == "<Region 555555559000-55555557a000 rw-p [heap]>"
    assert repr(process.walk(p)).startswith("<WalkView 0x555555559010: PGD[170] PUD[341] PMD[170] PTE[345] -> frame")


def test_explain_names_region_page_chunk_and_list(process: Process) -> None:
    p = process.malloc(100)
    process.free(p)
    said = process.explain(p)
    assert "[heap]" in said and "frame" in said and "tcache 0x70" in said
    assert "nothing is mapped" in process.explain(0)


def test_malloc_check_finds_the_byte_too_many() -> None:
    for check, outcome in ((None, 0), (3, 1)):
        p = Machine().spawn(malloc_check=check)
        block = p.malloc(24)
        p.memset(block, 65, 25)
        if outcome:
            with pytest.raises(Aborted, match=r"free\(\): invalid pointer"):
                p.free(block)
        else:
            p.free(block)
    with pytest.raises(UserError, match="MALLOC_CHECK_=4"):
        Machine().spawn(malloc_check=4)
