# SPDX-License-Identifier: LGPL-2.1-or-later
"""A group's charge and limit on the twin and on the real kernel's memory controller."""

from __future__ import annotations

import os
import random
import tempfile
import time

import pytest
from tests.kernel.memory_group import MemoryGroup, memory_group, missing

from memtwin.host.stage import Stage, StageDied
from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.machine import Machine
from memtwin.kernel.reclaim import validate_reclaim

PAGE, READ, WRITE, SHARED, ANON, SHARED_ANON = 4096, 1, 2, 1, 0x22, 0x21
NOHUGEPAGE, DONTNEED = 15, 4
SIZE = 64  # pages of each mapping
pytestmark = pytest.mark.skipif(missing() != "", reason=f"needs {missing()}")


class Both:
    """The same mappings in processes of the host and in spaces of the twin; `join` puts the first into a group."""

    def __init__(self, stage: Stage, host: MemoryGroup) -> None:
        self.stage = stage
        self.host = host
        self.machine = Machine("256 MiB")
        self.group = self.machine.new_group("test", "128 MiB")
        self.spaces = {0: AddressSpace(self.machine, window_bits=32)}
        self.places: list[tuple[int, int]] = []

    def map(self, flags: int, prot: int, descriptor: int, file: object) -> int:
        """One mapping on both sides: its number."""
        there = self.stage.call("mmap", 0, SIZE * PAGE, prot, flags, descriptor, 0).result
        here = self.spaces[0].sys_mmap(0, SIZE * PAGE, prot, flags, file, 0)
        self.stage.call("madvise", there, SIZE * PAGE, NOHUGEPAGE)
        self.spaces[0].sys_madvise(here, SIZE * PAGE, NOHUGEPAGE)
        self.places.append((there, here))
        return len(self.places) - 1

    def touch(self, process: int, place: int, first: int, count: int, access: int) -> None:
        there, here = self.places[place]
        call = self.stage.touch_write if access == WRITE else self.stage.touch_read
        call(there + first * PAGE, count, process=process)
        self.spaces[process].touch(here + first * PAGE, count * PAGE, access)

    def forget(self, process: int, place: int, first: int, count: int) -> None:
        there, here = self.places[place]
        self.stage.call("madvise", there + first * PAGE, count * PAGE, DONTNEED, process=process)
        self.spaces[process].sys_madvise(here + first * PAGE, count * PAGE, DONTNEED)

    def fork(self) -> None:
        assert self.stage.split(1).result > 0
        self.spaces[1] = self.spaces[0].fork(window_bits=32)

    def join(self) -> None:
        """Process 0, not its child, is charged to the group from now on."""
        self.host.add(self.stage.pid)
        self.spaces[0].join(self.group)

    def charges(self) -> tuple[int, int]:
        """Pages charged but for the kernel's own: the host's group's, the twin's.

        The kernel adds its processors' counts up every two seconds, or when they are many (memcg_vmstats_needs_flush).
        """
        end = time.monotonic() + 6
        ours = self.group.usage - self.group.tables
        while (there := self.host.pages("anon") + self.host.pages("file")) != ours and time.monotonic() < end:
            time.sleep(0.05)
        return there, ours


@pytest.mark.parametrize("case", range(3))
def test_whoever_brings_a_page_in_is_charged_for_it(case: int) -> None:
    """Anonymous pages, shared memory and a memfd in two processes of which one is in the group."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    r = random.Random(seed)
    memfd = os.memfd_create("test")
    os.ftruncate(memfd, SIZE * PAGE)
    with memory_group() as host, Stage([memfd]) as stage:
        both = Both(stage, host)
        both.map(ANON, 3, -1, None)
        both.map(SHARED_ANON, 3, -1, None)
        both.map(SHARED, 3, memfd, both.machine.memfd(SIZE * PAGE, "/memfd:x"))
        both.fork()
        both.join()
        for _ in range(60):
            process, place, first = r.randrange(2), r.randrange(3), r.randrange(SIZE)
            count = min(r.choice((1, 2, 9)), SIZE - first)
            kind = r.random()
            if kind < 0.8:
                both.touch(process, place, first, count, WRITE if kind < 0.4 else READ)
            else:
                both.forget(process, place, first, count)
        assert both.group.usage > both.group.tables
        there, ours = both.charges()
        assert there == ours
        validate_reclaim(both.machine.reclaim)
    os.close(memfd)


def test_a_file_is_charged_to_the_first_who_reads_it() -> None:
    """A file that is cached already costs the group nothing; one that it has to read, all of its pages."""
    content = bytes(SIZE * PAGE)
    with tempfile.TemporaryFile(dir="/var/tmp") as file, memory_group() as host:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        with Stage([file.fileno()]) as stage:
            both = Both(stage, host)
            both.join()
            for cached, expected in ((True, 0), (False, SIZE)):
                if not cached:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                place = both.map(SHARED, 1, file.fileno(), both.machine.disk_file(content, "/x", cached=cached))
                both.touch(0, place, 0, SIZE, READ)
                assert both.charges() == (expected, expected)
                stage.call("munmap", both.places[place][0], SIZE * PAGE)


def test_at_the_limit_without_swap_the_group_s_own_oom_killer_comes() -> None:
    with memory_group() as host:
        host.limit(4 << 20)
        with Stage() as stage:
            host.add(stage.pid)
            at = stage.call("mmap", 0, 16 << 20, 3, ANON, -1, 0).result
            stage.call("madvise", at, 16 << 20, NOHUGEPAGE)
            with pytest.raises(StageDied, match="-9"):
                stage.touch_write(at, 4096)
        assert host.kills() == 1
    machine = Machine("256 MiB")
    group = machine.new_group("test", 4 << 20)
    space, other = AddressSpace(machine, window_bits=32), AddressSpace(machine, window_bits=32)
    space.join(group)
    space.touch(space.sys_mmap(0, 16 << 20, 3, ANON, None, 0), 16 << 20, WRITE)
    assert (space.stop_signal, other.stop_signal, group.kills) == (9, 0, 1)
