# SPDX-License-Identifier: LGPL-2.1-or-later
"""The host's part in a comparison: operations played on the stage, its processes observed through /proc."""

from __future__ import annotations

import time
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from memtwin.errors import UserError
from memtwin.host import proc
from memtwin.host.stage import (
    NOTHING,
    REAP,
    SPLIT,
    TOUCH_DIRTY,
    TOUCH_READ,
    TOUCH_WRITE,
    WANT_MAPS,
    Answer,
    Facts,
    Stage,
    call_command,
    command,
)
from memtwin.kernel.hostprofile import has_protection_keys
from memtwin.verify.disturbance import Watch
from memtwin.verify.layout import spans
from memtwin.verify.observation import POOL, Observation, Pages, observe
from memtwin.verify.operations import NO_FILE, Operation, Outcome
from memtwin.verify.scene import Scene

PAGE = 4096
POOL_SECONDS = 10.0


class Start(NamedTuple):
    """What a fresh stage is, as far as a twin must know it to begin alike.

    maps: its /proc/PID/maps. resident: ranges of pages that are present (address, pages). labels: of the scene's files,
    see Scene.labels. protection_keys: whether the processor has them.
    """

    facts: Facts
    maps: bytes
    resident: tuple[tuple[int, int], ...]
    labels: dict[str, tuple[str, str]]
    protection_keys: bool = False


class Host:
    """A stage with the scene's files. limits: see Stage.

    huge: reserved huge pages are looked at, if the machine has a pool of them that nobody else uses; huge_pages: how
    many there are then, else 0.
    """

    def __init__(self, scene: Scene, limits: Mapping[int, tuple[int, int]] | None = None, huge: bool = False) -> None:
        self.scene = scene
        self._limits = limits
        self._numbers = scene.numbers()
        self.stage = Stage(scene.passed(), limits)
        self._start: Start | None = None
        self.huge_pages = host_pool() if huge else 0
        self._watch = Watch(scene.descriptors["file"])

    @property
    def facts(self) -> Facts:
        """Where the stage's own things lie."""
        return self.stage.facts

    def restart(self) -> Start:
        """A fresh address space and the scene as at first. Descendants are ended.

        While other processes have reserved huge pages it is waited for them, as long as POOL_SECONDS; UserError then.
        """
        self.stage.reap_all()
        self.scene.reset()
        self._watch.begin()
        maps = self.stage.fresh().maps
        if self.huge_pages:
            self._await_pool()
        if self._start is None or self._start.maps != maps:
            self._start = Start(self.facts, maps, self._resident(maps), self.scene.labels(), has_protection_keys())
        return self._start

    def _await_pool(self) -> None:
        end = time.monotonic() + POOL_SECONDS
        while host_pool() != self.huge_pages:
            if time.monotonic() > end:
                raise UserError(f"other processes use this machine's reserved huge pages: {read_pool()}")
            time.sleep(0.05)

    def revive(self) -> Start:
        """A new stage after StageDied."""
        self.stage.close()
        self.stage = Stage(self.scene.passed(), self._limits)
        return self.restart()

    def _resident(self, maps: bytes) -> tuple[tuple[int, int], ...]:
        """Ranges of pages that are present in a fresh stage: the same each time, for nothing random is in it."""
        ranges: list[tuple[int, int]] = []
        for span in spans(maps):
            entries = proc.read_pagemap(self.stage.pid, span.start, (span.end - span.start) // PAGE)
            for page, entry in enumerate(entries):
                address = span.start + page * PAGE
                if not entry & proc.PRESENT:
                    continue
                if ranges and ranges[-1][0] + ranges[-1][1] * PAGE == address:
                    ranges[-1] = (ranges[-1][0], ranges[-1][1] + 1)
                else:
                    ranges.append((address, 1))
        return tuple(ranges)

    def play(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Perform them in order; an outcome for each. StageDied when the process cannot go on."""
        answers = self.stage.play([self._command(operation) for operation in operations])
        return [self._outcome(*both) for both in zip(operations, answers, strict=True)]

    def _command(self, operation: Operation) -> bytes:
        process, name, a = operation
        match name:
            case "nothing":
                return command(NOTHING, process=process, want=WANT_MAPS)
            case "load":
                return command(TOUCH_READ, *a, process=process, want=WANT_MAPS)
            case "store":
                return command(TOUCH_WRITE, *a, process=process, want=WANT_MAPS)
            case "touch_read":
                return command(TOUCH_READ, a[0], a[1], PAGE, process=process, want=WANT_MAPS)
            case "touch_write":
                return command(TOUCH_DIRTY, a[0], a[1], PAGE, process=process, want=WANT_MAPS)
            case "fork":
                return command(SPLIT, *a, process=process, want=WANT_MAPS)
            case "exit":
                return command(REAP, *a, process=process, want=WANT_MAPS)
            case "mincore":
                pages = min((a[1] + PAGE - 1) // PAGE, self.facts.scratch_length)
                return call_command(name, *a, self.facts.scratch, process=process, want=WANT_MAPS, room=pages)
            case "mmap":
                file = -1 if a[4] == NO_FILE else self._numbers[a[4]]
                return call_command(name, *a[:4], file, a[5], process=process, want=WANT_MAPS)
        return call_command(name, *a, process=process, want=WANT_MAPS)

    def _outcome(self, operation: Operation, answer: Answer) -> Outcome:
        """An answer without what only the host has: process ids, mincore's vector when the call failed."""
        result, name = answer.result, operation.name
        if name == "fork" and result > 0:
            self.stage.born(operation.arguments[0], operation.process, result)
            result = 0
        elif name == "exit" and result > 0:
            self.stage.gone(operation.arguments[0])
            result = 0
        value = answer.value if name == "load" else 0
        data = bytes(byte & 1 for byte in answer.room) if result == 0 else b""
        return Outcome(
            result, answer.minflt, answer.majflt, answer.signal, answer.code, answer.address, value, data, answer.maps
        )

    def observe(self) -> Observation:
        """What /proc tells of all living processes now."""
        return observe(
            self.facts, {process: _HostPages(pid) for process, pid in self.stage.pids.items()}, self.huge_pages > 0
        )

    def disturbances(self) -> tuple[str, ...]:
        """What the kernel did of its own accord since the restart."""
        return self._watch.causes()

    def close(self) -> None:
        """End the stage."""
        self.stage.close()


class _HostPages(Pages):
    def __init__(self, pid: int) -> None:
        self.pid = pid

    def smaps(self) -> bytes:
        return Path(f"/proc/{self.pid}/smaps").read_bytes()

    def status(self) -> str:
        return Path(f"/proc/{self.pid}/status").read_text()

    def pagemap(self, start: int, pages: int) -> array[int]:
        return proc.read_pagemap(self.pid, start, pages)

    def map_count(self, pfn: int) -> int:
        return _map_counts().of(pfn)

    def pool(self) -> dict[str, int]:
        return read_pool()


def read_pool() -> dict[str, int]:
    """The lines of /proc/meminfo that POOL names."""
    lines = (line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return {name: int(rest.split()[0]) for name, rest in lines if name in POOL}


def host_pool() -> int:
    """How many reserved huge pages of the usual size this machine has; 0 when another process has some of them."""
    pool = read_pool()
    if pool.get("HugePages_Rsvd") or pool.get("HugePages_Free") != pool.get("HugePages_Total"):
        return 0
    return pool.get("HugePages_Total", 0)


def _map_counts() -> proc.MapCounts:
    """One open /proc/kpagecount for the whole run."""
    global _counts
    if _counts is None:
        _counts = proc.MapCounts()
    return _counts


_counts: proc.MapCounts | None = None
