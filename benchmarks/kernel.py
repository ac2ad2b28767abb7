# SPDX-License-Identifier: LGPL-2.1-or-later
"""The twin's kernel beside the real one, in the same run: nanoseconds an operation, and what memory costs the host.

    python benchmarks/kernel.py            a table
    python benchmarks/kernel.py --json     the same as one JSON object

The real side is the stage (src/memtwin/host/stage.c), a process without a C library, timed inside. The twin is called
from Python, so that what is not a range costs it some 0.2 us of Python a call on top; loads and stores without a fault
are called from compiled code, as the allocator calls them, which is compiled here with Cython and cc. Such an access
costs the stage a call and the chaining of the byte on top; both sides walk through
64 MiB, a byte a page and 64 bytes further in each round, so that caches and TLB miss alike.
"""

from __future__ import annotations

import importlib.util
import json
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import memtwin
from memtwin.host.stage import (
    FORK_LOOP,
    MAP_LOOP,
    TOUCH_DIRTY,
    TOUCH_READ,
    TOUCH_WRITE,
    WANT_TIME,
    Stage,
    call_command,
    command,
)
from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.machine import Machine

PAGE, MIB, GIB, READ, WRITE, ANON = 4096, 1 << 20, 1 << 30, 1, 2, 0x22
PAGES = 16384  # 64 MiB
ZONE = 0x100000000000
REPEATS, ROUNDS = 5, 16


def best(run: Callable[[], float]) -> float:
    """The smallest of several results."""
    return min(run() for _ in range(REPEATS))


def timed(call: Callable[[], object]) -> float:
    """Nanoseconds that one call takes."""
    begin = time.perf_counter_ns()
    call()
    return time.perf_counter_ns() - begin


def twin_fault(access: int, after_read: bool = False) -> float:
    """A minor fault of anonymous memory: demand zero, or with after_read the copy of the zero page."""
    space = AddressSpace(Machine("1 GiB"), 40)
    at = space.sys_mmap(0, PAGES * PAGE, 3, ANON, None, 0)
    if after_read:
        space.touch(at, PAGES * PAGE, READ)
    spent = timed(lambda: space.touch(at, PAGES * PAGE, access))
    space.release_all()
    return spent / PAGES


def twin_copy() -> float:
    """A copy on write after fork; nobody has stored bytes, so that none are copied."""
    space = AddressSpace(Machine("1 GiB"), 40)
    at = space.sys_mmap(0, PAGES * PAGE, 3, ANON, None, 0)
    space.touch(at, PAGES * PAGE, WRITE)
    child = space.fork(40)
    spent = timed(lambda: child.touch(at, PAGES * PAGE, WRITE))
    child.release_all()
    space.release_all()
    return spent / PAGES


def twin_fork() -> float:
    """fork and exit of a process with 64 MiB resident."""
    space = AddressSpace(Machine("1 GiB"), 40)
    at = space.sys_mmap(0, PAGES * PAGE, 3, ANON, None, 0)
    space.touch(at, PAGES * PAGE, WRITE)
    spent = timed(lambda: space.fork(40).release_all())
    space.release_all()
    return spent


def twin_map(vmas: int) -> float:
    """mmap and munmap of 4 pages in an address space of so many VMAs."""
    space = AddressSpace(Machine("1 GiB"), 40)
    for number in range(vmas):
        space.sys_mmap(ZONE + number * 2 * PAGE, PAGE, 3, ANON | 0x10, None, 0)
    times = 2000

    def loop() -> None:
        for _ in range(times):
            space.sys_munmap(space.sys_mmap(0, 4 * PAGE, 3, ANON, None, 0), 4 * PAGE)

    return timed(loop) / times


LOOPS = """
# cython: language_level=3
from libc.stdint cimport uint64_t
from memtwin.memory cimport Memory, load_u8, store_u8

def loads(Memory memory, uint64_t start, uint64_t pages, uint64_t rounds):
    cdef uint64_t i, r, value = 0
    for r in range(rounds):
        for i in range(pages):
            value = value * 31 + load_u8(memory, start + i * 4096 + r * 64)
    return value

def stores(Memory memory, uint64_t start, uint64_t pages, uint64_t rounds):
    cdef uint64_t i, r
    for r in range(rounds):
        for i in range(pages):
            store_u8(memory, start + i * 4096 + r * 64, 1)
"""


@cache
def loops() -> Any:
    """LOOPS as a module."""
    with tempfile.TemporaryDirectory(prefix="memtwin-bench-") as folder:
        spec = importlib.util.spec_from_file_location("loops", compiled(Path(folder)))
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)  # what is mapped stays when its file goes
    return module


def compiled(place: Path) -> Path:
    """LOOPS, compiled in a directory: the shared object."""
    source, made = place / "loops.pyx", place / "loops.so"
    source.write_text(LOOPS)
    root = Path(memtwin.__file__).parents[1]
    subprocess.run([sys.executable, "-m", "cython", "-I", str(root), str(source)], check=True)
    include = ["-I", sysconfig.get_path("include"), "-I", str(root)]
    command = ["cc", "-O2", "-shared", "-fPIC", *include, str(source.with_suffix(".c")), "-o", str(made)]
    subprocess.run(command, check=True)
    return made


def twin_access(access: int) -> float:
    """A load or store of a byte to a page that has been stored to before."""
    space = AddressSpace(Machine("1 GiB"), 40)
    at = space.sys_mmap(0, PAGES * PAGE, 3, ANON, None, 0)
    space.write(at, b"x" * PAGES * PAGE)
    before = space.min_flt
    run = loops().stores if access == WRITE else loops().loads
    spent = timed(lambda: run(space, at, PAGES, ROUNDS))
    assert space.min_flt == before
    space.release_all()
    return spent / (PAGES * ROUNDS)


def real_access(kind: int) -> float:
    """`twin_access` on this machine."""
    with Stage() as stage:
        at = stage.call("mmap", 0, PAGES * PAGE, 3, ANON, -1, 0).result
        stage.call("madvise", at, PAGES * PAGE, 15)
        stage.touch_write(at, PAGES)
        rounds = [command(kind, at + 64 * r, PAGES, PAGE, 1, want=WANT_TIME) for r in range(ROUNDS)]
        return sum(answer.nanoseconds for answer in stage.play(rounds)) / (PAGES * ROUNDS)


def real_fault(kind: int, after_read: bool = False) -> float:
    """`twin_fault` on this machine."""
    with Stage() as stage:
        at = stage.call("mmap", 0, PAGES * PAGE, 3, ANON, -1, 0).result
        stage.call("madvise", at, PAGES * PAGE, 15)
        if after_read:
            stage.touch_read(at, PAGES)
        return stage.play([command(kind, at, PAGES, PAGE, want=WANT_TIME)])[0].nanoseconds / PAGES


def real_copy() -> float:
    """`twin_copy` on this machine."""
    with Stage() as stage:
        at = stage.call("mmap", 0, PAGES * PAGE, 3, ANON, -1, 0).result
        stage.call("madvise", at, PAGES * PAGE, 15)
        stage.touch_write(at, PAGES)
        stage.split(1)
        return stage.play([command(TOUCH_DIRTY, at, PAGES, PAGE, process=1, want=WANT_TIME)])[0].nanoseconds / PAGES


def real_fork() -> float:
    """`twin_fork` on this machine."""
    with Stage() as stage:
        at = stage.call("mmap", 0, PAGES * PAGE, 3, ANON, -1, 0).result
        stage.call("madvise", at, PAGES * PAGE, 15)
        stage.touch_write(at, PAGES)
        return stage.play([command(FORK_LOOP, 10, want=WANT_TIME)])[0].nanoseconds / 10


def real_map(vmas: int) -> float:
    """`twin_map` on this machine."""
    with Stage() as stage:
        stage.play(
            [call_command("mmap", ZONE + number * 2 * PAGE, PAGE, 3, ANON | 0x10, -1, 0) for number in range(vmas)]
        )
        return stage.play([command(MAP_LOOP, 2000, 4 * PAGE, want=WANT_TIME)])[0].nanoseconds / 2000


def big_process_bytes() -> int:
    """Host memory for 16 GiB of address space of which 4 GiB are touched and never read, beyond an idle twin."""
    space = AddressSpace(Machine("64 GiB"))
    before = resident_bytes()
    at = space.sys_mmap(0, 16 * GIB, 3, ANON, None, 0)
    space.touch(at, 4 * GIB, WRITE)
    assert space.rss_pages == 4 * GIB // PAGE
    return resident_bytes() - before


def resident_bytes() -> int:
    """This process's RSS."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


ROWS: dict[str, tuple[Callable[[], float], Callable[[], float]]] = {
    "first write of a page": (lambda: twin_fault(WRITE), lambda: real_fault(TOUCH_DIRTY)),
    "first read of a page": (lambda: twin_fault(READ), lambda: real_fault(TOUCH_READ)),
    "write after read": (lambda: twin_fault(WRITE, True), lambda: real_fault(TOUCH_DIRTY, True)),
    "copy on write after fork": (twin_copy, real_copy),
    "load without a fault": (lambda: twin_access(READ), lambda: real_access(TOUCH_READ)),
    "store without a fault": (lambda: twin_access(WRITE), lambda: real_access(TOUCH_WRITE)),
    "fork + exit, 64 MiB resident": (twin_fork, real_fork),
    "mmap + munmap, 10 VMAs": (lambda: twin_map(10), lambda: real_map(10)),
    "mmap + munmap, 1,000 VMAs": (lambda: twin_map(1000), lambda: real_map(1000)),
    "mmap + munmap, 60,000 VMAs": (lambda: twin_map(60000), lambda: real_map(60000)),
}


def main() -> None:
    """Run everything and print it."""
    rows = {name: {"twin_ns": best(twin), "real_ns": best(real)} for name, (twin, real) in ROWS.items()}
    big = big_process_bytes()
    if "--json" in sys.argv[1:]:
        print(json.dumps({"operations": rows, "big_process_bytes": big}))
        return
    print(f"{'':32}{'twin ns':>12}{'real ns':>12}{'times':>8}")
    for name, row in rows.items():
        print(f"{name:32}{row['twin_ns']:12,.0f}{row['real_ns']:12,.0f}{row['real_ns'] / row['twin_ns']:8.1f}")
    print(f"16 GiB mapped, 4 GiB touched, never read: {big / MIB:.1f} MiB of host memory")


if __name__ == "__main__":
    main()
