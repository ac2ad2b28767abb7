# SPDX-License-Identifier: LGPL-2.1-or-later
"""Resource limits and overcommit on the twin and on the real kernel, compared at their edges."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from memtwin.host.proc import read_status
from memtwin.host.stage import Stage
from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.machine import Machine

PAGE, ANON, NORESERVE, FIXED = 4096, 0x22, 0x4000, 0x10
ENOMEM = 12
WIDE = "MEMTWIN_MACHINE_WIDE"


def meminfo() -> dict[str, int]:
    """The host's /proc/meminfo, KiB."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) for line in lines}


def twin_like(stage: Stage, **settings: int) -> AddressSpace:
    """A space on a machine with the host's RAM and swap that has as many pages mapped as the stage."""
    host = meminfo()
    swap = host["SwapTotal"] + 4 if host["SwapTotal"] else 0
    machine = Machine(host["MemTotal"] << 10, swap << 10, **settings)  # type: ignore[arg-type]
    space = AddressSpace(machine, window_bits=32)
    data = read_status(stage.pid)["VmData"]
    space.sys_mmap(0, data, 3, ANON | NORESERVE, None, 0)
    rest = read_status(stage.pid)["VmSize"] - data
    space.sys_mmap(0, rest, 1, ANON, None, 0)
    return space


def both(stage: Stage, space: AddressSpace, length: int, prot: int, flags: int) -> tuple[bool, bool]:
    """Whether mmap succeeds on the host and on the twin; where both do, it is undone."""
    there = stage.call("mmap", 0, length, prot, flags, -1, 0).result
    here = space.sys_mmap(0, length, prot, flags, None, 0)
    if there > 0:
        stage.call("munmap", there, length)
    if here > 0:
        space.sys_munmap(here, length)
    return there > 0, here > 0


@pytest.mark.parametrize("limit", ["as", "data"])
def test_a_limit_ends_at_the_same_page(limit: str) -> None:
    kind = resource.RLIMIT_AS if limit == "as" else resource.RLIMIT_DATA
    with Stage() as stage:
        space = twin_like(stage)
        used = (space.total_vm if limit == "as" else space.data_vm) * PAGE
        for room in (0, 1, 100 * PAGE - 1, 100 * PAGE, 100 * PAGE + 1):
            resource.prlimit(stage.pid, kind, (used + room, resource.RLIM_INFINITY))
            setattr(space, f"{limit}_limit", used + room)
            for pages in (1, 99, 100, 101):
                for prot, flags in ((3, ANON), (1, ANON), (0, ANON), (3, 0x21), (3, ANON | NORESERVE)):
                    host, twin = both(stage, space, pages * PAGE, prot, flags)
                    assert host == twin, (limit, room, pages, prot, flags)


def test_mode_0_refuses_from_the_same_byte_on() -> None:
    if Path("/proc/sys/vm/overcommit_memory").read_text().strip() != "0":
        pytest.skip("needs vm.overcommit_memory 0")
    host = meminfo()
    edge = (host["MemTotal"] + host["SwapTotal"]) << 10
    with Stage() as stage:
        space = twin_like(stage)
        for length in (edge - PAGE, edge, edge + PAGE, 1 << 40):
            for prot, flags in ((3, ANON), (1, ANON), (3, ANON | NORESERVE), (3, 0x21)):
                there, here = both(stage, space, length, prot, flags)
                assert there == here, (length, prot, flags)


@contextmanager
def overcommit(mode: int) -> Iterator[None]:
    """vm.overcommit_memory set for a while; restored whatever happens."""
    setting = Path("/proc/sys/vm/overcommit_memory")
    before = setting.read_text()
    try:
        setting.write_text(str(mode))
        yield
    finally:
        setting.write_text(before)
    assert setting.read_text() == before


machine_wide = pytest.mark.skipif(
    WIDE not in os.environ or os.geteuid() != 0,
    reason=f"needs root and {WIDE}=1: it changes vm.overcommit_memory of this machine while it runs",
)


@machine_wide
def test_mode_1_refuses_nothing() -> None:
    with Stage() as stage:
        space = twin_like(stage, overcommit=1)
        with overcommit(1):
            assert both(stage, space, 1 << 40, 3, ANON) == (True, True)
            assert both(stage, space, 1 << 40, 3, 0x21) == (True, True)


@machine_wide
def test_mode_2_ends_within_a_mebibyte() -> None:
    """The host's Committed_AS moves while others run, and is read in batches: the edge is looked for 1 MiB around."""
    with Stage() as stage:
        space = twin_like(stage, overcommit=2)
        rule = space.machine.overcommit
        rule.ratio = int(Path("/proc/sys/vm/overcommit_ratio").read_text())
        rule.kbytes = int(Path("/proc/sys/vm/overcommit_kbytes").read_text())
        rule.user_reserve_kbytes = int(Path("/proc/sys/vm/user_reserve_kbytes").read_text())
        with overcommit(2):
            host = meminfo()
            space.frames.committed = host["Committed_AS"] >> 2
            assert abs(rule.limit() - (host["CommitLimit"] >> 2)) <= 1
            reserve = min(space.total_vm // 32, rule.user_reserve_kbytes >> 2)
            edge = ((host["CommitLimit"] >> 2) - reserve - (host["Committed_AS"] >> 2)) * PAGE
            for length, expected in ((edge - (1 << 20), True), (edge + (1 << 20), False)):
                for flags in (ANON, ANON | NORESERVE):
                    assert both(stage, space, length, 3, flags) == (expected, expected), (length, flags)
