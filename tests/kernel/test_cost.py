# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a large process costs the host that only touches its memory: tables, no bytes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from memtwin.kernel import mm

BIG = """
from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.machine import Machine

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

space = AddressSpace(Machine("64 GiB"))
before = resident()
at = space.sys_mmap(0, 16 << 30, 3, 0x22, None, 0)
space.touch(at, 4 << 30, 2)
assert space.rss_pages == 1 << 20
print(resident() - before)
"""


@pytest.mark.skipif(mm.__file__.endswith(".py"), reason="needs the compiled rooms: a million faults")
def test_four_gibibytes_touched_of_sixteen_cost_under_100_mib() -> None:
    run = subprocess.run([sys.executable, "-c", BIG], capture_output=True, text=True, check=True)
    assert 0 < int(run.stdout) < 100 << 20
