# SPDX-License-Identifier: LGPL-2.1-or-later
"""Swap on the twin and on the real kernel: faults, resident and swapped pages of random operations, compared.

The host's swap is a zram device, set up for these tests and taken down after them; it needs root and /dev/zram0, unused.
vm.page-cluster is 0 meanwhile: how much the kernel reads ahead into the swap cache is a guess from earlier faults, and
the twin reads what is asked for.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest

from memtwin.host.proc import parse_smaps, read_smaps
from memtwin.host.stage import Stage
from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.check import validate_machine
from memtwin.kernel.machine import Machine
from memtwin.kernel.reclaim import validate_reclaim
from memtwin.kernel.smaps import smaps
from memtwin.kernel.swap import validate_swap

PAGE, ANON, READ, WRITE, PAGES = 4096, 0x22, 1, 2, 64
DONTNEED, PAGEOUT = 4, 21
SIZE = 64 << 20
ZRAM = Path("/sys/block/zram0")
CLUSTER = Path("/proc/sys/vm/page-cluster")


def _missing() -> str:
    """What this machine lacks for the test; "" when nothing."""
    if os.geteuid():
        return "root (swapon)"
    if not ZRAM.exists() or not Path("/dev/zram0").exists():
        return "/dev/zram0 (CONFIG_ZRAM, modprobe zram)"
    if (ZRAM / "disksize").read_text().strip() != "0":
        return "an unused zram device: zram0 has a size already"
    if len(Path("/proc/swaps").read_text().splitlines()) > 1:
        return "a machine without swap of its own: its pages could go there instead"
    for tool in ("mkswap", "swapon", "swapoff"):
        if which(tool) is None:
            return f"{tool} (apt install util-linux mount)"
    return ""


@pytest.fixture(scope="module")
def zram() -> Iterator[None]:
    """A zram device as the machine's only swap; afterwards everything is as it was."""
    missing = _missing()
    if missing:
        pytest.skip(f"needs {missing}")
    swaps, ahead = Path("/proc/swaps").read_text(), CLUSTER.read_text()
    try:
        CLUSTER.write_text("0")
        (ZRAM / "disksize").write_text(str(SIZE))
        subprocess.run(["mkswap", "/dev/zram0"], check=True, capture_output=True)
        made = subprocess.run(["swapon", "/dev/zram0"], capture_output=True, text=True)
        if made.returncode:
            pytest.skip(f"needs the right to swapon: {made.stderr.strip()}")
        yield
    finally:
        subprocess.run(["swapoff", "/dev/zram0"], capture_output=True)
        (ZRAM / "reset").write_text("1")
        CLUSTER.write_text(ahead)
    assert CLUSTER.read_text() == ahead
    assert Path("/proc/swaps").read_text() == swaps
    assert (ZRAM / "disksize").read_text().strip() == "0"


class Pair:
    """The same mapping in two processes, one of the twin and one of the host, and the same operations on both."""

    def __init__(self, stage: Stage) -> None:
        # Fresh pages wait in a batch of their processor before they join the lists; MADV_PAGEOUT empties only the batch
        # of the processor it runs on, and passes over pages that are still in another's (lru_add_drain).
        os.sched_setaffinity(stage.pid, {min(os.sched_getaffinity(0))})
        self.stage = stage
        self.machine = Machine("64 MiB", SIZE)
        self.spaces = {0: AddressSpace(self.machine, window_bits=32)}
        self.there = stage.call("mmap", 0, PAGES * PAGE, 3, ANON, -1, 0).result
        self.here = self.spaces[0].sys_mmap(0, PAGES * PAGE, 3, ANON, None, 0)
        stage.call("madvise", self.there, PAGES * PAGE, 15)  # MADV_NOHUGEPAGE
        self.spaces[0].sys_madvise(self.here, PAGES * PAGE, 15)

    def touch(self, process: int, first: int, count: int, access: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """(minor, major) faults of the host and of the twin."""
        call = self.stage.touch_write if access == WRITE else self.stage.touch_read
        answer = call(self.there + first * PAGE, count, process=process)
        space = self.spaces[process]
        before = (space.min_flt, space.maj_flt)
        space.touch(self.here + first * PAGE, count * PAGE, access)
        return (answer.minflt, answer.majflt), (space.min_flt - before[0], space.maj_flt - before[1])

    def advise(self, process: int, first: int, count: int, advice: int) -> None:
        result = self.stage.call("madvise", self.there + first * PAGE, count * PAGE, advice, process=process).result
        assert result == self.spaces[process].sys_madvise(self.here + first * PAGE, count * PAGE, advice)

    def fork(self, child: int, process: int) -> None:
        assert self.stage.split(child, process=process).result > 0
        self.spaces[child] = self.spaces[process].fork(window_bits=32)

    def end(self, child: int) -> None:
        self.stage.reap(child)
        self.spaces.pop(child).release_all()

    def pages(self, process: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Pages (resident, in swap) of the mapping, host's and twin's."""
        maps = [smap for smap in read_smaps(self.stage.pids[process]) if smap.start <= self.there < smap.end]
        sizes = maps[0].sizes
        space = self.spaces[process]
        return (sizes["Rss"] // PAGE, sizes["Swap"] // PAGE), (
            space.resident_pages(self.here, self.here + PAGES * PAGE),
            space.swap_pages,
        )


def test_pages_out_and_back(zram: None) -> None:
    with Stage() as stage:
        pair = Pair(stage)
        assert pair.touch(0, 0, PAGES, WRITE) == ((PAGES, 0), (PAGES, 0))
        pair.advise(0, 0, PAGES, PAGEOUT)
        assert pair.pages(0) == ((0, PAGES), (0, PAGES))
        assert pair.touch(0, 0, PAGES, READ) == ((0, PAGES), (0, PAGES))
        assert pair.pages(0) == ((PAGES, 0), (PAGES, 0))
        assert pair.touch(0, 0, PAGES, WRITE) == ((0, 0), (0, 0))


def test_the_second_of_two_processes_finds_the_page_in_the_swap_cache(zram: None) -> None:
    with Stage() as stage:
        pair = Pair(stage)
        pair.touch(0, 0, 8, WRITE)
        pair.advise(0, 0, 8, PAGEOUT)
        pair.fork(1, 0)
        assert pair.pages(0) == pair.pages(1) == ((0, 8), (0, 8))
        assert pair.touch(1, 0, 8, READ) == ((0, 8), (0, 8))
        assert pair.touch(0, 0, 8, READ) == ((8, 0), (8, 0))


HUGE, HUGE_AT = 2 << 20, 0x40000000


def huge_counts(stage: Stage, space: AddressSpace) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Pages (anonymous, in swap, of huge pages) of the mapping at HUGE_AT, host's and twin's."""
    sizes = next(smap for smap in read_smaps(stage.pid) if smap.start == HUGE_AT).sizes
    ours = next(smap for smap in parse_smaps(smaps(space).encode()) if smap.start == HUGE_AT).sizes
    names = ("Anonymous", "Swap", "AnonHugePages")
    host, twin = (tuple(one[name] // PAGE for name in names) for one in (sizes, ours))
    return host, twin  # type: ignore[return-value]


@pytest.mark.parametrize("out", [HUGE, HUGE // 2, PAGE], ids=["whole", "half", "one page"])
@pytest.mark.parametrize("written", [HUGE // PAGE, 1], ids=["all written", "one written"])
@pytest.mark.parametrize("forked", [False, True], ids=["alone", "forked"])
def test_a_huge_page_goes_as_a_whole_or_is_split_first(zram: None, out: int, written: int, forked: bool) -> None:
    """After MADV_PAGEOUT: in swap to the page; a shared one stays. Read again, as many major faults."""
    with Stage() as stage:
        os.sched_setaffinity(stage.pid, {min(os.sched_getaffinity(0))})
        space = AddressSpace(Machine("64 MiB", SIZE), window_bits=32)
        for call in (("mmap", HUGE_AT, HUGE, 3, 0x32, -1, 0), ("madvise", HUGE_AT, HUGE, 14)):
            assert stage.call(*call).result >= 0
        space.sys_mmap(HUGE_AT, HUGE, 3, 0x32, None, 0)
        space.sys_madvise(HUGE_AT, HUGE, 14)
        stage.touch_write(HUGE_AT, written)
        for page in range(written):
            space.write(HUGE_AT + page * PAGE, b"\1")
        child = None
        if forked:
            stage.split(1)
            child = space.fork(window_bits=32)
        before = huge_counts(stage, space)
        if before[0][2] == 0:
            pytest.skip("needs a huge page: the host has no free block of 2 MiB now")
        assert before[0] == before[1]
        assert stage.call("madvise", HUGE_AT, out, PAGEOUT).result == space.sys_madvise(HUGE_AT, out, PAGEOUT) == 0
        host, twin = huge_counts(stage, space)
        assert host == twin
        answer = stage.touch_read(HUGE_AT, HUGE // PAGE)
        faults = (space.min_flt, space.maj_flt)
        space.touch(HUGE_AT, HUGE, READ)
        assert (answer.minflt, answer.majflt) == (space.min_flt - faults[0], space.maj_flt - faults[1])
        validate_machine(space.machine, [space] if child is None else [space, child])


@pytest.mark.parametrize("case", range(12))
def test_random_operations_of_a_family(zram: None, case: int) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    draw = random.Random(seed)
    with Stage() as stage:
        pair = Pair(stage)
        history = []
        for _ in range(150):
            process = draw.choice(list(pair.spaces))
            first = draw.randrange(PAGES)
            count = min(draw.choice((1, 2, 5, PAGES)), PAGES - first)
            step = draw.random()
            history.append((process, first, count, round(step, 2)))
            if step < 0.6:
                host, twin = pair.touch(process, first, count, WRITE if step < 0.3 else READ)
                assert host == twin, history
            elif step < 0.85:
                pair.advise(process, first, count, PAGEOUT)
            elif step < 0.9:
                pair.advise(process, first, count, DONTNEED)
            elif step < 0.96 and len(pair.spaces) < 4:
                pair.fork(min({1, 2, 3} - set(pair.spaces)), process)
            elif process:
                pair.end(process)
            for member in pair.spaces:
                host, twin = pair.pages(member)
                assert host == twin, (member, history)
        validate_swap(pair.machine.swap_area)
        validate_reclaim(pair.machine.reclaim)
