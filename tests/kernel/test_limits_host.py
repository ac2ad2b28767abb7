# SPDX-License-Identifier: LGPL-2.1-or-later
"""Resource limits and overcommit on the twin and on the real kernel, compared at their edges."""

from __future__ import annotations

import os
import resource
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.machine_wide import changed

from memtwin.errors import SegmentationFault
from memtwin.host.proc import read_status
from memtwin.host.stage import CALL, TOUCH_WRITE, Stage, call_command, command, stage_program
from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.hostprofile import profile_of_host
from memtwin.kernel.loader import load_program
from memtwin.kernel.machine import Machine

PAGE, ANON, NORESERVE, FIXED = 4096, 0x22, 0x4000, 0x10
ENOMEM, DONTFORK, PLACE = 12, 10, 1 << 40
RATIO = 1000
SETRESUID, NOBODY, LOCKED = 117, 65534, 0x2000
WIDE = "MEMTWIN_MACHINE_WIDE"


def meminfo() -> dict[str, int]:
    """The host's /proc/meminfo, KiB."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) for line in lines}


def twin_like(stage: Stage, **settings: Any) -> AddressSpace:
    """A space on a machine with the host's RAM and swap that has as many pages mapped as the stage."""
    host = meminfo()
    swap = host["SwapTotal"] + 4 if host["SwapTotal"] else 0
    machine = Machine(host["MemTotal"] << 10, swap << 10, **settings)
    space = AddressSpace(machine, window_bits=32)
    data = read_status(stage.pid)["VmData"]
    space.sys_mmap(0, data, 3, ANON | NORESERVE, None, 0)
    rest = read_status(stage.pid)["VmSize"] - data
    space.sys_mmap(0, rest, 1, ANON, None, 0)
    return space


def both(stage: Stage, space: AddressSpace, length: int, prot: int, flags: int) -> tuple[bool, bool]:
    """Whether mmap succeeds on the host and on the twin; it is undone at once, before any other process wants memory."""
    commands = call_command("mmap", PLACE, length, prot, flags | FIXED, -1, 0), call_command("munmap", PLACE, length)
    there = stage.play(commands)[0].result
    here = space.sys_mmap(PLACE, length, prot, flags | FIXED, None, 0)
    space.sys_munmap(PLACE, length)
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


KBYTES = Path("/proc/sys/vm/overcommit_kbytes").read_text().strip()
machine_wide = pytest.mark.skipif(
    WIDE not in os.environ or os.geteuid() != 0 or KBYTES != "0",
    reason=f"needs root, {WIDE}=1 (it changes vm.overcommit_memory of this machine while it runs), overcommit_kbytes 0",
)


@contextmanager
def overcommit(mode: int) -> Iterator[None]:
    """vm.overcommit_memory set for a while; restored whatever happens.

    CommitLimit is ten times the RAM meanwhile, so that no other process of the machine comes near it.
    """
    with (
        changed(Path("/proc/sys/vm/overcommit_ratio"), f"{RATIO}\n"),
        changed(Path("/proc/sys/vm/overcommit_memory"), f"{mode}\n"),
    ):
        yield


@machine_wide
def test_mode_1_refuses_nothing() -> None:
    with Stage() as stage:
        space = twin_like(stage, overcommit=1)
        with overcommit(1):
            assert both(stage, space, 1 << 40, 3, ANON) == (True, True)
            assert both(stage, space, 1 << 40, 3, 0x21) == (True, True)


def like_mode_2(space: AddressSpace) -> int:
    """The twin counts what the host has committed; how many pages more the host's mode 2 still promises the stage."""
    host = meminfo()
    rule = space.machine.overcommit
    rule.ratio = RATIO
    space.frames.committed = host["Committed_AS"] >> 2
    assert abs(rule.limit() - (host["CommitLimit"] >> 2)) <= 1
    reserve = min(space.total_vm // 32, rule.user_reserve_kbytes >> 2)
    return (host["CommitLimit"] >> 2) - reserve - (host["Committed_AS"] >> 2)


@machine_wide
def test_mode_2_ends_within_two_mebibytes() -> None:
    """The host's Committed_AS moves while others run, and is read in batches: the edge is looked for 2 MiB around."""
    with Stage() as stage:
        space = twin_like(stage, overcommit=2, profile=profile_of_host(sized=True))
        with overcommit(2):
            edge = like_mode_2(space) * PAGE
            found = {
                (length, flags): both(stage, space, length, 3, flags)
                for length in (edge - (2 << 20), edge + (2 << 20))
                for flags in (ANON, ANON | NORESERVE)
            }
        for (length, flags), pair in found.items():
            assert pair == (length < edge, length < edge), (length - edge, flags)


@machine_wide
@pytest.mark.parametrize(("share", "spared"), [(0.4, False), (0.6, False), (0.6, True)])
def test_mode_2_asks_for_a_second_promise_when_a_process_forks(share: float, spared: bool) -> None:
    """A private writable mapping of 40 % of what is left can be promised twice, one of 60 % cannot, unless
    MADV_DONTFORK leaves it out."""
    with Stage() as stage:
        space = twin_like(stage, overcommit=2, profile=profile_of_host(sized=True))
        with overcommit(2):
            length = int(like_mode_2(space) * share) * PAGE
            at = stage.call("mmap", 0, length, 3, ANON, -1, 0).result
            here = space.sys_mmap(0, length, 3, ANON, None, 0)
            if spared:
                stage.call("madvise", at, length, DONTFORK)
                space.sys_madvise(here, length, DONTFORK)
            there = stage.split(1).result
        assert at > 0 and here > 0
        try:
            space.fork(window_bits=32).release_all()
            ours = 0
        except OSError as error:
            ours = -(error.errno or 0)
        assert (min(there, 0), ours) == ((0, 0) if spared or share < 0.5 else (-ENOMEM, -ENOMEM))


def test_the_break_ends_at_the_same_byte() -> None:
    """RLIMIT_DATA counts the program's own data too, and refuses even to shrink (check_data_rlimit)."""
    with Stage() as stage:
        space = AddressSpace(Machine("64 MiB"), window_bits=32)
        load_program(space, str(stage_program()), [str(stage_program())], {})
        start, data = stage.call("brk", 0).result, space.data_bytes
        assert start == space.brk_start
        for limit in (data + 3 * PAGE, data + 3 * PAGE + 5, data + PAGE - 1, data, 8 * PAGE):
            resource.prlimit(stage.pid, resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
            space.data_limit = limit
            for size in (3 * PAGE, 3 * PAGE + 1, 3 * PAGE + 5, 3 * PAGE + 6, PAGE, 100, 1, 0, 8 * PAGE):
                there = stage.call("brk", start + size).result
                assert there == space.sys_brk(start + size), (limit - data, size)


@pytest.mark.parametrize(
    "command",
    [
        [shutil.which("cat") or "cat"],
        [sys.executable, "-c", "import sys; print(input(), flush=True); sys.stdin.read()"],
    ],
    ids=["cat", "python"],
)
def test_a_program_s_data_is_as_large_as_the_kernel_says(command: list[str]) -> None:
    """/proc/PID/stat's start_data and end_data (fields 45 and 46), whose difference the load address does not change.

    Its answer to a line shows that execve has put the fields there.
    """
    path = os.path.realpath(command[0])
    with subprocess.Popen([path, *command[1:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as run:
        assert run.stdin and run.stdout
        run.stdin.write(b"ready\n")
        assert run.stdout.readline() == b"ready\n"
        fields = Path(f"/proc/{run.pid}/stat").read_text().rpartition(")")[2].split()
    space = AddressSpace(Machine("1 GiB"), window_bits=40)
    load_program(space, path, [path], {})
    assert space.data_bytes == int(fields[46 - 3]) - int(fields[45 - 3]) > 0


def limit_itself(stage: Stage, kind: int, soft: int, hard: int) -> None:
    """prlimit64 by the stage for itself, struct rlimit put together byte by byte in its scratch: to limit a process of
    another user takes CAP_SYS_RESOURCE, which root in a container often lacks."""
    place = stage.facts.scratch
    data = struct.pack("<2Q", soft, hard % 2**64)
    stage.play([command(TOUCH_WRITE, place + i, 1, 1, byte) for i, byte in enumerate(data)])
    assert stage.call("prlimit64", 0, kind, place, 0).result == 0


def test_locks_end_at_the_same_page_for_a_process_without_rights() -> None:
    """RLIMIT_MEMLOCK for mlock, mlock2, mlockall, MAP_LOCKED, brk and mremap; a limit of 0 is EPERM instead."""
    with Stage() as stage:
        space = AddressSpace(Machine("256 MiB"), window_bits=32)
        space.admin = False
        hard = resource.prlimit(stage.pid, resource.RLIMIT_MEMLOCK)[1]
        stage.play([command(CALL, *(NOBODY,) * 3, number=SETRESUID)])
        at = PLACE
        stage.call("mmap", at, 64 * PAGE, 3, ANON | FIXED, -1, 0)
        space.sys_mmap(at, 64 * PAGE, 3, ANON | FIXED, None, 0)
        for limit in (16 * PAGE, 16 * PAGE - 1, 16 * PAGE + 1, 5, 0):
            limit_itself(stage, resource.RLIMIT_MEMLOCK, limit, hard)
            space.memlock_limit = limit
            for name, *arguments in (
                ("mlock", at, 15 * PAGE), ("mlock", at, 16 * PAGE), ("mlock", at + 8 * PAGE, 16 * PAGE),
                ("mlock", at, 17 * PAGE), ("mlock2", at + 20 * PAGE, PAGE, 1), ("mlock2", at + 20 * PAGE, 20 * PAGE, 0),
                ("mremap", at, PAGE, 40 * PAGE, 1, 0), ("mlock", at + 1, 0), ("munlock", at, 64 * PAGE),
                ("mlockall", 3), ("mlockall", 2), ("munlockall",),
            ):  # fmt: skip
                there = stage.call(name, *arguments).result
                ours = getattr(space, f"sys_{name}")(*arguments)
                assert there == ours or (there > 0 and ours > 0), (limit, name, arguments, there, ours)
            for pages in (15, 16, 17):
                there = stage.call("mmap", 2 * PLACE, pages * PAGE, 3, ANON | FIXED | LOCKED, -1, 0).result
                ours = space.sys_mmap(2 * PLACE, pages * PAGE, 3, ANON | FIXED | LOCKED, None, 0)
                assert there == ours, (limit, pages)
                stage.call("munmap", 2 * PLACE, pages * PAGE)
                space.sys_munmap(2 * PLACE, pages * PAGE)


@pytest.mark.parametrize("limit", [256 << 10, (256 << 10) + 5, 1 << 20, 136 << 10])
def test_the_stack_grows_to_the_same_page(limit: int) -> None:
    """RLIMIT_STACK: the first access at each depth, from the deepest that is refused upwards."""
    with Stage() as stage:
        space = AddressSpace(Machine("256 MiB"), window_bits=32)
        load_program(space, str(stage_program()), [str(stage_program())], {})
        resource.prlimit(stage.pid, resource.RLIMIT_STACK, (limit, resource.RLIM_INFINITY))
        space.stack_limit = limit
        top = space.task_size
        for depth in (limit + PAGE, limit + 1, limit, limit - PAGE, limit - PAGE + 1, 40 * PAGE):
            answer = stage.touch_write(top - depth)
            try:
                space.write(top - depth, b"\1")
                ours = (0, 0)
            except SegmentationFault as stop:
                ours = (stop.signal, stop.code)
            assert (answer.signal, answer.code) == ours, (limit, depth)
        assert read_status(stage.pid)["VmStk"] == space.stack_vm * PAGE
