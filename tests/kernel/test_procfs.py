# SPDX-License-Identifier: LGPL-2.1-or-later
"""The texts of /proc/PID, to the byte as the kernel writes them of a process stopped at execve."""

from __future__ import annotations

import difflib
from array import array
from pathlib import Path

import pytest

from memtwin.errors import UserError
from memtwin.host.exec import stopped_at_exec
from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.flags import MADV_HUGEPAGE, MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE
from memtwin.kernel.loader import load_program
from memtwin.kernel.machine import Machine
from memtwin.kernel.smaps import smaps, smaps_rollup
from memtwin.kernel.status import pagemap, statm, status

RW, ANONYMOUS = PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS
PAGE = 4096
READ, WRITE = 1, 2
VSYSCALL = "ffffffffff600000"


def assert_same(ours: str, theirs: str) -> None:
    assert ours == theirs, "\n".join(difflib.unified_diff(theirs.splitlines(), ours.splitlines(), "host", "twin", n=1))


@pytest.mark.parametrize("path", ["/bin/cat", "/bin/bash", "/sbin/ldconfig", "/usr/bin/perl"])
def test_a_process_at_its_start(path: str) -> None:
    space = AddressSpace(Machine(profile="host"), window_bits=32)
    load_program(space, path, [path], {"A": "b"})
    with stopped_at_exec([path], {"A": "b"}) as pid:
        proc = Path(f"/proc/{pid}")
        texts = {name: (proc / name).read_text() for name in ("smaps", "smaps_rollup", "status", "statm")}
        stack = space.vmas()[-1]
        pages = (stack.end - stack.start) // PAGE
        with (proc / "pagemap").open("rb") as file:
            file.seek(stack.start // PAGE * 8)
            entries = array("Q", file.read(8 * pages))
    assert_same(smaps(space), texts["smaps"][: texts["smaps"].index(VSYSCALL)])
    assert_same(smaps_rollup(space), texts["smaps_rollup"])
    assert_same(statm(space), texts["statm"])
    lines = texts["status"].splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if line.startswith("VmPeak"))
    last = next(number for number, line in enumerate(lines) if line.startswith("HugetlbPages"))
    assert_same(status(space), "".join(lines[first : last + 1]))
    mask = ~((1 << 55) - 1)
    assert [entry & mask for entry in pagemap(space, stack.start, pages)] == [entry & mask for entry in entries]


def test_counts_after_some_accesses() -> None:
    space = AddressSpace(Machine(), window_bits=32)
    base = space.sys_mmap(0, 16 * PAGE, RW, ANONYMOUS, None, 0)
    space.touch(base, 3 * PAGE, WRITE)
    space.touch(base + 5 * PAGE, 2 * PAGE, READ)
    text = smaps(space)
    assert "Rss:                  12 kB\n" in text
    assert "Private_Dirty:        12 kB\n" in text
    assert "THPeligible:           0\n" in text
    present, exclusive = 1 << 63, 1 << 56
    states = [entry >> 55 << 55 for entry in pagemap(space, base, 8)]
    assert states == [present | exclusive] * 3 + [0] * 2 + [present] * 2 + [0]
    fields = dict(line.split(":\t") for line in status(space).splitlines())
    assert fields["VmPTE"] == "      12 kB"
    space.sys_munmap(base, 16 * PAGE)
    fields = dict(line.split(":\t") for line in status(space).splitlines())
    assert (fields["VmPeak"], fields["VmSize"]) == ("      64 kB", "       0 kB")
    assert (fields["VmHWM"], fields["VmRSS"]) == ("      12 kB", "       0 kB")


def test_huge_pages_are_eligible_where_asked_for() -> None:
    space = AddressSpace(Machine(), window_bits=32)
    base = space.sys_mmap(0, 4 << 20, RW, ANONYMOUS, None, 0)
    space.sys_madvise(base, 4 << 20, MADV_HUGEPAGE)
    assert "THPeligible:           1\nVmFlags: rd wr mr mw me ac hg \n" in smaps(space)


def test_an_empty_process() -> None:
    space = AddressSpace(Machine(), window_bits=32)
    assert smaps(space) == ""
    assert smaps_rollup(space).startswith(f"{'00000000-00000000 ---p 00000000 00:00 0':<73}[rollup]\n")
    assert statm(space) == "0 0 0 0 0 0 0\n"
    with pytest.raises(UserError, match="pagemap of 2 pages"):
        pagemap(space, space.task_size - PAGE, 2)
