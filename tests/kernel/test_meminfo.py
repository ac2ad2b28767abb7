# SPDX-License-Identifier: LGPL-2.1-or-later
"""meminfo, buddyinfo and vmstat: the host's formats, and figures that add up."""

from __future__ import annotations

import re
from pathlib import Path

from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.machine import Machine
from memtwin.kernel.meminfo import buddyinfo_text, meminfo, meminfo_text, vmstat

PAGE, WRITE, ANON = 4096, 2, 0x22


def test_lines_are_written_as_the_host_writes_them() -> None:
    host = Path("/proc/meminfo").read_text().splitlines()
    names = [line.partition(":")[0] for line in host]
    twin = meminfo_text(Machine("16 GiB", "1 GiB")).splitlines()
    order = [names.index(line.partition(":")[0]) for line in twin]
    assert order == sorted(order)
    for line in twin:
        model = host[names.index(line.partition(":")[0])]
        assert len(line) == len(model) and line.endswith(" kB") == (not line.startswith("HugePages_"))
    blocks = re.compile(r"Node \d+, zone +\w+ ( *\d+ )+\n?")
    for line in [*Path("/proc/buddyinfo").read_text().splitlines(), buddyinfo_text(Machine("16 MiB"))]:
        assert blocks.fullmatch(line)
        assert len(line.rstrip("\n")) == len("Node 0, zone   Normal ") + 7 * 11
    known = {line.split()[0] for line in Path("/proc/vmstat").read_text().splitlines()}
    assert {name for name in vmstat(Machine("16 MiB")) if name not in known} <= {
        "pgscan",
        "allocstall",
    }  # sums of several


def test_what_is_committed_resident_and_swapped() -> None:
    machine = Machine("16 MiB", "16 MiB")
    space = AddressSpace(machine, window_bits=32)
    before = meminfo(machine)
    at = space.sys_mmap(0, 512 * PAGE, 3, ANON, None, 0)
    space.sys_mmap(0, 512 * PAGE, 1, ANON, None, 0)
    space.touch(at, 256 * PAGE, WRITE)
    now = meminfo(machine)
    assert now["Committed_AS"] - before["Committed_AS"] == 2048
    assert now["AnonPages"] == now["Inactive(anon)"] == 1024
    assert before["MemFree"] - now["MemFree"] == 1024 + now["PageTables"] - before["PageTables"]
    space.sys_madvise(at, 64 * PAGE, 21)
    later = meminfo(machine)
    assert (later["AnonPages"], later["SwapTotal"] - later["SwapFree"]) == (768, 256)
    assert vmstat(machine)["pswpout"] == 64
    space.touch(at, 64 * PAGE, WRITE)
    assert (vmstat(machine)["pswpin"], vmstat(machine)["pgmajfault"]) == (64, 64)


def test_free_blocks_add_up_to_what_is_free() -> None:
    machine = Machine("16 MiB")
    counts = [int(word) for word in buddyinfo_text(machine).split()[4:]]
    assert sum(count << order for order, count in enumerate(counts)) == machine.frames.free
