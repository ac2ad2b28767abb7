# SPDX-License-Identifier: LGPL-2.1-or-later
"""The host's process answers as a C program would see it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest

from memtwin.errors import Aborted, Exited, SegmentationFault, UserError
from memtwin.host.process import Process
from memtwin.script import CALLS


@pytest.fixture
def process() -> Iterator[Process]:
    with Process() as started:
        yield started


def test_two_processes_give_the_same_addresses(process: Process) -> None:
    with Process() as other:
        for call in (lambda p: p.malloc(100), lambda p: p.calloc(3, 700), lambda p: p.mmap(length=1 << 20)):
            assert call(process) == call(other) != 0


def test_reading_writing_and_the_faults_of_a_call(process: Process) -> None:
    pages = process.mmap(length=4 * 4096)
    process.touch(pages, 4 * 4096)
    assert (process.minflt, process.majflt) == (4, 0)
    process.write(pages, b"hello")
    assert process.minflt == 0
    assert process.read(pages, 5) == b"hello"
    assert process.mincore(pages, 4 * 4096) == b"\1\1\1\1"


def test_a_child_has_memory_of_its_own(process: Process) -> None:
    block = process.malloc(64)
    process.write(block, b"parent")
    child = process.fork()
    child.write(block, b"child!")
    assert child.minflt == 1
    assert (process.read(block, 6), child.read(block, 6)) == (b"parent", b"child!")


def test_what_kills_the_process_is_told(process: Process) -> None:
    child, other = process.fork(), process.fork()
    with pytest.raises(Aborted, match=r"free\(\): invalid pointer"):
        child.free(child.malloc(64) + 8)
    with pytest.raises(SegmentationFault) as fault:
        other.write(0, b"x")
    assert (fault.value.address, fault.value.code, fault.value.access) == (0, 1, "write")
    with pytest.raises(Exited):
        process.xmalloc(1 << 62)


def test_failures_set_errno_as_c_does(process: Process) -> None:
    assert process.malloc(-1) == 0 and process.errno == 12
    assert process.mmap(length=0) == -1 and process.errno == 22
    slot = process.malloc(8)
    assert process.posix_memalign(slot, 48, 10) == 22
    assert process.posix_memalign(slot, 64, 10) == 0 and process.read_u64(slot) % 64 == 0
    assert process.mallinfo2()["arena"] > 0
    assert process.malloc_stats().startswith("Arena 0:")
    with pytest.raises(UserError):
        process.open("/etc/passwd")


def test_the_calls_of_a_script_are_there() -> None:
    missing = [name for name in CALLS if not inspect.isfunction(getattr(Process, name, None))]
    assert missing == []


def test_a_thread_makes_the_same_calls(process: Process) -> None:
    block = process.malloc(64)
    thread = process.thread()
    thread.write(block, b"shared")
    assert process.read(block, 6) == b"shared"
    assert thread.malloc(64) >> 40 == 0x7F
    thread.exit()
    assert process.open("/dev/zero") == 3 and process.memfd_create("file") == 4
