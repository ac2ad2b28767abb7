# SPDX-License-Identifier: LGPL-2.1-or-later
"""A group of the host's memory controller (cgroup v1 or v2), made for a test and removed after it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

PAGE = 4096


def controller() -> tuple[Path, int] | None:
    """Where the memory controller is mounted, and its version; None: it is not, or not for groups of ours."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup" and "memory" in options.split(","):
            return Path(place), 1
        if kind == "cgroup2" and "memory" in (Path(place) / "cgroup.subtree_control").read_text().split():
            return Path(place), 2
    return None


def missing() -> str:
    """What this machine lacks for such a group; "" when nothing."""
    if os.geteuid():
        return "root (to make a cgroup)"
    found = controller()
    if found is None:
        return "a mounted memory controller (cgroup v1 memory, or v2 with memory in cgroup.subtree_control)"
    return "" if os.access(found[0], os.W_OK) else f"a writable {found[0]}"


class MemoryGroup:
    """One group. pages(kind): "anon", "file" (of any file) or "shmem", as its memory.stat has them."""

    NAMES: ClassVar = {
        1: {"anon": "rss", "file": "cache", "shmem": "shmem"},
        2: {"anon": "anon", "file": "file", "shmem": "shmem"},
    }

    def __init__(self, place: Path, version: int) -> None:
        self.place = place
        self.version = version

    def add(self, pid: int) -> None:
        """The process is of the group from now on."""
        (self.place / "cgroup.procs").write_text(str(pid))

    def limit(self, size: int) -> None:
        """At most `size` bytes of RAM."""
        (self.place / ("memory.limit_in_bytes" if self.version == 1 else "memory.max")).write_text(str(size))

    def pages(self, kind: str) -> int:
        """Pages of a kind that the group is charged for."""
        lines = (line.split() for line in (self.place / "memory.stat").read_text().splitlines())
        return int(dict(lines)[self.NAMES[self.version][kind]]) // PAGE  # type: ignore[arg-type]

    def used(self) -> int:
        """All that it is charged for, pages; counted in batches."""
        name = "memory.usage_in_bytes" if self.version == 1 else "memory.current"
        return int((self.place / name).read_text()) // PAGE

    def kills(self) -> int:
        """How many processes its OOM killer has ended."""
        text = (self.place / ("memory.oom_control" if self.version == 1 else "memory.events")).read_text()
        return int(dict(line.split() for line in text.splitlines())["oom_kill"])


@contextmanager
def memory_group() -> Iterator[MemoryGroup]:
    """A new group, empty; its processes must have been ended when it goes."""
    found = controller()
    assert found is not None
    place = Path(tempfile.mkdtemp(prefix="memtwin-test-", dir=found[0]))
    try:
        yield MemoryGroup(place, found[1])
    finally:
        end = time.monotonic() + 10
        while (place / "cgroup.procs").read_text() and time.monotonic() < end:
            time.sleep(0.01)  # killed, and not yet gone
        place.rmdir()
