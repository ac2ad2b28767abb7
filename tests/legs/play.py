# SPDX-License-Identifier: LGPL-2.1-or-later
"""Random calls on a process of the twin, from one seed: everything that can be seen of them, as JSON on stdout.

test_uncompiled.py runs it compiled and uncompiled and compares: python play.py SEED CALLS.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from typing import Any

import memtwin
from memtwin.errors import Killed
from memtwin.libc.release import RELEASES
from memtwin.twin.machine import Machine
from memtwin.twin.process import Process

PAGE = 4096
SIZES = (1, 16, 24, 25, 100, 500, 1000, 1040, 2000, 5000, 70_000, 140_000, 600_000)


def main(seed: str, calls: int) -> None:
    """Print what happened."""
    draw = random.Random(seed)
    machine = Machine(ram="64 MiB", swap="16 MiB")
    processes = [spawned(draw, machine)]
    seen: list[Any] = []
    for _ in range(calls):
        process = draw.choice(processes)
        try:
            seen.append([one_call(draw, process, processes), process.errno, process.minflt, process.majflt])
        except Killed as death:
            seen.append(str(death))
            processes = [one for one in processes if one.ended is None] or [spawned(draw, machine)]
    last = [[one.maps, digest(one)] for one in processes]
    print(json.dumps({"where": memtwin.__file__, "seen": seen, "last": last}, default=str))


def spawned(draw: random.Random, machine: Machine) -> Process:
    """A process of some release, 32-bit now and then."""
    release, tunables = draw.choice(RELEASES), draw.choice(({}, {}, {"hugetlb": 1}, {"hugetlb": 2}))
    if draw.random() < 0.4:
        return machine.spawn(data_model="ILP32", tunables=tunables)
    return machine.spawn(glibc=release, tunables=tunables if int(release.split(".")[1]) >= 35 else {})


def one_call(draw: random.Random, process: Process, processes: list[Process]) -> Any:
    """Make one call; what it returned."""
    blocks = BLOCKS.setdefault(process.pid, [])
    kind = draw.random()
    if kind < 0.4:
        blocks.append(process.malloc(draw.choice(SIZES)))
        return blocks[-1]
    if kind < 0.6 and blocks:
        return process.free(blocks.pop(draw.randrange(len(blocks))))
    if kind < 0.7 and blocks:
        at = draw.randrange(len(blocks))
        blocks[at] = process.realloc(blocks[at], draw.choice(SIZES))
        return blocks[at]
    if kind < 0.76:
        blocks.append(process.memalign(draw.choice((32, 64, 4096)), draw.choice(SIZES)))
        return blocks[-1]
    if kind < 0.82:
        blocks.append(process.calloc(draw.choice((1, 3, 40)), draw.choice((8, 100, 3000))))
        return blocks[-1]
    if kind < 0.90:
        start = process.mmap(length=draw.randint(1, 9) * PAGE)
        process.touch(start, draw.randint(1, 3) * PAGE)
        process.mprotect(start, PAGE, draw.choice((0, 1, 3)))
        return start
    if kind < 0.94:
        return process.malloc_trim(0)
    if kind < 0.96 and len(processes) < 4:
        child = process.fork()
        BLOCKS[child.pid] = list(blocks)
        processes.append(child)
        return child.pid
    if blocks and draw.random() < 0.1:
        process.write(blocks[-1] - 8, bytes(8))
        return process.free(blocks[-1])
    return process.sbrk(0)


def digest(process: Process) -> str:
    """All bytes of the heap."""
    start = process.space.brk_start & -PAGE
    end = process.space.brk_end & -PAGE
    return hashlib.sha256(process.read(start, end - start)).hexdigest() if end > start else ""


BLOCKS: dict[int, list[int]] = {}

if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
