# SPDX-License-Identifier: LGPL-2.1-or-later
"""Kernel profiles: each makes a machine that works, and the host's is what the host says of itself."""

from __future__ import annotations

import gzip
import os
import platform
from dataclasses import replace
from pathlib import Path

import pytest

from memtwin.errors import SegmentationFault, UserError
from memtwin.host.proc import read_status
from memtwin.host.stage import Stage
from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.check import validate_machine
from memtwin.kernel.hostprofile import profile_of_host, ram_and_swap, release_of
from memtwin.kernel.machine import Machine
from memtwin.kernel.profile import HOST, PROFILES, KernelProfile, profile_named
from memtwin.kernel.status import status

ANON, FIXED, HUGEPAGE = 0x22, 0x10, 14


def kib(space: AddressSpace, field: str) -> int:
    """A line of the twin's status, KiB."""
    return next(int(line.split()[1]) for line in status(space).splitlines() if line.startswith(field + ":"))


@pytest.mark.parametrize("name", [*PROFILES, HOST])
def test_each_profile_maps_faults_forks_and_holds_together(name: str) -> None:
    machine = Machine("1 GiB", profile=name)
    profile = machine.profile
    page = profile.page_size
    space = AddressSpace(machine, 40)
    at = space.sys_mmap(0, 10 * page, 3, ANON, None, 0)
    assert at + 10 * page == profile.task_size - (128 << 20) & -page
    space.write(at, b"x" * 10 * page)
    assert space.sys_brk(space.brk_start + page) == space.brk_start + page
    space.write(space.brk_start, b"heap")
    child = space.fork(40)
    child.write(at, b"y")
    assert (space.read(at, 1), child.read(at, 1), child.read(space.brk_start, 4)) == (b"x", b"y", b"heap")
    assert (space.min_flt, child.min_flt) == (11, 1)
    # a table a level for each of the two places; they share the topmost, and of five levels the next one too
    assert space.pages.counted() == 2 * (min(profile.levels, 4) - 1)
    validate_machine(machine, [space, child])
    with pytest.raises(SegmentationFault):
        space.read(profile.task_size, 1)


@pytest.mark.parametrize("name", list(PROFILES))
def test_a_huge_page_is_what_a_table_of_the_last_level_maps(name: str) -> None:
    machine = Machine("4 GiB", profile=name)
    space = AddressSpace(machine, 40)
    size = machine.profile.huge_size
    at = space.sys_mmap(1 << 32, size, 3, ANON | FIXED, None, 0)
    space.sys_madvise(at, size, HUGEPAGE)
    space.write(at, b"x")
    # the buddy allocator's largest block is of 2**10 pages: 16 KiB pages need 2**11 of them
    assert space.anon_pages == (size // machine.profile.page_size if size // machine.profile.page_size <= 1024 else 1)
    validate_machine(machine, [space])


def test_tables_of_the_second_of_five_levels_are_not_counted() -> None:
    """include/linux/mm.h has mm_inc_nr_puds, mm_inc_nr_pmds and mm_inc_nr_ptes, and nothing for P4D tables."""
    counted = []
    for name in ("linux-6.18-x86_64", "linux-6.18-x86_64-la57"):
        space = AddressSpace(Machine("64 MiB", profile=name), 32)
        for address in (1 << 30, 1 << 39, 1 << 46):
            space.sys_mmap(address, 4096, 3, ANON | FIXED, None, 0)
            space.write(address, b"x")
        counted.append((kib(space, "VmPTE"), space.pages.tables))
    assert counted == [(36, 9), (36, 10)]


def test_the_host_s_tables_are_counted_as_the_host_s_profile_says() -> None:
    """Four levels or five, whichever this processor has: VmPTE of addresses far from each other."""
    if platform.machine() != "x86_64":
        pytest.skip("the stage runs on x86-64")
    space = AddressSpace(Machine("64 MiB", profile=HOST), 32)
    with Stage() as stage:
        before = read_status(stage.pid)["VmPTE"] >> 10
        for address in (1 << 30, 1 << 39, 1 << 40, 1 << 45):
            stage.call("mmap", address, 4096, 3, ANON | FIXED, -1, 0)
            stage.touch_write(address)
            space.sys_mmap(address, 4096, 3, ANON | FIXED, None, 0)
            space.write(address, b"x")
        there = (read_status(stage.pid)["VmPTE"] >> 10) - before
    # the stage's own pages lie low, and have a table of the second level already, which 1 << 30 shares
    assert there == kib(space, "VmPTE") - 4


def test_what_the_host_says_of_itself() -> None:
    profile = profile_of_host()
    assert profile.page_size == os.sysconf("SC_PAGE_SIZE")
    assert profile.release == release_of(platform.release())
    assert profile.max_map_count == int(Path("/proc/sys/vm/max_map_count").read_text())
    assert profile.mmap_min_addr >= int(Path("/proc/sys/vm/mmap_min_addr").read_text())
    assert profile.overcommit_memory == int(Path("/proc/sys/vm/overcommit_memory").read_text())
    huge = Path("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")
    if huge.exists():
        assert profile.huge_size == int(huge.read_text())
        assert f"[{profile.thp}]" in Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
    config = Path("/proc/config.gz")
    if config.exists():
        lines = gzip.decompress(config.read_bytes()).decode().splitlines()
        assert profile.reclaim_tables == ("CONFIG_PT_RECLAIM=y" in lines)
        assert profile.names_mappings == ("CONFIG_ANON_VMA_NAME=y" in lines)
    assert [name for name, _, _ in profile.vdso_pages][-1:] == ["[vdso]"]
    assert profile.min_free_kbytes is None
    assert profile_of_host(sized=True).min_free_kbytes == int(Path("/proc/sys/vm/min_free_kbytes").read_text())
    ram, _ = ram_and_swap()
    assert ram // profile.page_size == os.sysconf("SC_PHYS_PAGES")


def test_sizes_of_huge_pages_follow_the_architecture_whatever_the_profile_is_called() -> None:
    assert PROFILES["linux-6.18-x86_64"].huge_sizes == (2 << 20, 1 << 30)
    assert replace(PROFILES["linux-6.18-x86_64"], name="mine").huge_sizes == (2 << 20, 1 << 30)
    assert PROFILES["linux-6.18-aarch64"].huge_sizes == (2 << 20,)


def test_the_lowest_address_is_where_the_host_maps_it() -> None:
    """profile_of_host asks by a hint; the same hint on the twin and in the stage."""
    if platform.machine() != "x86_64":
        pytest.skip("the stage runs on x86-64")
    space = AddressSpace(Machine("64 MiB", profile=HOST), 32)
    with Stage() as stage:
        there = stage.call("mmap", 4096, 4096, 0, ANON, -1, 0).result
    assert there == space.sys_mmap(4096, 4096, 0, ANON, None, 0) == space.mmap_min_addr


def test_a_sized_profile_sets_watermarks_and_reserves() -> None:
    profile = replace(
        KernelProfile(), min_free_kbytes=2048, user_reserve_kbytes=100, admin_reserve_kbytes=50, overcommit_memory=2
    )
    machine = Machine("64 MiB", profile=profile)
    assert machine.frames.minimum == 512
    rule = machine.overcommit
    assert (rule.mode, rule.user_reserve_kbytes, rule.admin_reserve_kbytes) == (2, 100, 50)
    assert Machine("64 MiB", profile=profile, overcommit=1).overcommit.mode == 1


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"page_size": 5000}, "page size"),
        ({"levels": 6}, "levels"),
        ({"levels": 3}, "translate"),
        ({"task_size": 4097}, "multiple"),
        ({"thp": "sometimes"}, "thp"),
    ],
)
def test_a_profile_that_cannot_be_says_why(fields: dict[str, object], word: str) -> None:
    with pytest.raises(UserError, match=word):
        replace(KernelProfile(), **fields)  # type: ignore[arg-type]


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(UserError, match="chapter-8k, host"):
        profile_named("vax")
    with pytest.raises(UserError, match="two numbers"):
        release_of("next")
