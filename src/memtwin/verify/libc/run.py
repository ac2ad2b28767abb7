# SPDX-License-Identifier: LGPL-2.1-or-later
"""Many random columns on one library: each played on both sides, differences shrunk, everything told in the end."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from memtwin.errors import UserError
from memtwin.host.libcs import Libc
from memtwin.host.player import OPERATION, Play, PlayerError
from memtwin.trace.schema import Op
from memtwin.verify.disturbance import NO_HUGE_BLOCK, causes_since, read_vmstat
from memtwin.verify.libc.compare import Difference, TwinMaker, compare
from memtwin.verify.libc.profiles import PROFILES, Profile
from memtwin.verify.libc.script import LibcScript
from memtwin.verify.libc.sequences import generate, slots_of
from memtwin.verify.shrink import shrink

LEFT_OUT = (
    "contents and residency of what was mapped before the first operation, but for main_arena and mp_",
    "the thread-local pointers tcache and thread_arena: what they point to is compared",
)
TRIES = 3
STOP = np.zeros(1, OPERATION)
STOP["op"] = Play.STOP


@dataclass(frozen=True)
class Found:
    """A difference: the column's name, what differs, and the shortest script that shows it."""

    column: str
    text: str
    script: str
    length: int


@dataclass
class Report:
    """What a run came to. counts: operations by name; disturbed: columns that were played again, by what the kernel had
    done of its own accord meanwhile."""

    libc: str
    seed: str
    operations: int = 0
    columns: int = 0
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    differences: list[Found] = field(default_factory=list)
    disturbed: Counter[str] = field(default_factory=Counter)
    left_out: tuple[str, ...] = LEFT_OUT


@dataclass(frozen=True)
class Task:
    """One column to be played: everything follows from these."""

    profile: Profile
    seed: int
    count: int
    environment: dict[str, str]

    def column(self, word: int) -> npt.NDArray[Any]:
        """Its operations."""
        return generate(self.profile, self.seed, self.count, word)

    @property
    def name(self) -> str:
        """For people: enough to make it again."""
        settings = "".join(f" {key}={value}" for key, value in self.environment.items())
        return f"{self.profile.name} {self.seed:#x} {self.count}{settings}"


def tasks(seed: str, operations: int, libc: Libc, names: list[str]) -> Iterator[Task]:
    """The columns of a run: profiles in turn, their lengths such that each has several turns."""
    dice = random.Random(seed)
    chosen = [PROFILES[name] for name in names] or list(PROFILES.values())
    left = operations
    while left > 0:
        for profile in dice.sample(chosen, len(chosen)):
            count = max(500, min(profile.longest, left, operations // (2 * len(chosen))))
            if left <= 0:
                return
            left -= count
            yield Task(profile, dice.getrandbits(64), count, dice.choice(profile.environments))


def verify(
    libc: Libc,
    seed: str,
    operations: int,
    make_twin: TwinMaker,
    names: list[str] | None = None,
    progress: Callable[[Report], None] = lambda report: None,
    most_differences: int = 5,
) -> Report:
    """Play random columns until `operations` are done or `most_differences` found; names: only these profiles.

    `progress` is called after each column; KeyboardInterrupt ends the run early with what there is.
    """
    for name in names or []:
        if name not in PROFILES:
            raise UserError(f"no profile {name}: choose from {', '.join(PROFILES)}")
    report = Report(libc.name, seed)
    begin = time.monotonic()
    try:
        for task in tasks(seed, operations, libc, names or []):
            column = task.column(libc.word)
            difference = settled(libc, column, slots_of(task.profile), task.environment, make_twin, report)
            report.columns += 1
            report.operations += len(column)
            for op, count in zip(*np.unique(column["op"], return_counts=True), strict=True):
                report.counts[Op(op).name if op <= max(Op) else Play(op).name] += int(count)
            if difference:
                report.differences.append(found(libc, task.name, column, task.environment, difference, make_twin))
            report.seconds = time.monotonic() - begin
            progress(report)
            if len(report.differences) >= most_differences:
                break
    except KeyboardInterrupt:
        pass
    return report


def settled(
    libc: Libc,
    column: npt.NDArray[Any],
    slots: int,
    environment: dict[str, str],
    make_twin: TwinMaker,
    report: Report,
) -> Difference | None:
    """`compare`, and again where only pages in RAM differ and the kernel's counters say that it moved some itself.

    What shows again at the same place is the twin's, unless there was no block for a huge page each time. A column that
    was disturbed TRIES times counts as not different; the report tells how often that was.
    """
    shown: set[tuple[int, str]] = set()
    for _ in range(TRIES):
        before = read_vmstat()
        difference = compare(libc, column, slots, environment, make_twin)
        if difference is None or not difference.kind.startswith("page "):
            return difference
        causes = causes_since(before)
        place = (difference.at, difference.kind)
        if not causes or (place in shown and NO_HUGE_BLOCK not in causes):
            return difference
        shown.add(place)
        report.disturbed.update(causes)
    return None


def found(
    libc: Libc,
    name: str,
    column: npt.NDArray[Any],
    environment: dict[str, str],
    difference: Difference,
    make_twin: TwinMaker,
) -> Found:
    """Shrink a difference: the shortest script that shows one of the same kind."""
    differs = partial(_shows, libc, column, environment, difference.kind.split()[0], make_twin)
    whole = list(range(difference.at + 1))
    shortest = shrink(whole, differs, mend=list) if differs(whole) else whole
    operations = np.concatenate((keep_only(column, shortest), STOP))
    script = LibcScript(operations, libc.name, environment)
    last = compare(libc, operations, script.slots, environment, make_twin)
    told = "\n".join(f"# {line}" for line in (f"from column {name}", str(last or difference)))
    return Found(name, str(difference), f"{told}\n{script.format()}", len(operations))


def _shows(
    libc: Libc, column: npt.NDArray[Any], environment: dict[str, str], kind: str, make_twin: TwinMaker, kept: list[int]
) -> bool:
    operations = np.concatenate((keep_only(column, kept), STOP))
    try:
        slots = int(column["slot"].max()) + 1
        difference = compare(libc, operations, slots, environment, make_twin)
    except PlayerError:
        return False
    return difference is not None and difference.kind.split()[0] == kind


def keep_only(column: npt.NDArray[Any], kept: list[int]) -> npt.NDArray[Any]:
    """The operations whose numbers are in `kept`, in order, as a column of its own.

    A FORK counts those of its child's operations that are left; operations of a thread that nobody starts any more are
    the first thread's.
    """
    shorter = column[kept].copy()
    numbers = np.array(kept, np.int64)
    for at in np.flatnonzero(shorter["op"] == Op.FORK):
        i = int(at)
        last = numbers[i] + int(shorter["size"][i])
        shorter["size"][i] = int(((numbers > numbers[i]) & (numbers <= last)).sum())
    alive = {0}
    drop = np.zeros(len(shorter), bool)
    for i, operation in enumerate(shorter):
        if int(operation["thread"]) not in alive:
            shorter["thread"][i] = 0
            drop[i] = operation["op"] == Op.THREAD_EXIT
        elif operation["op"] == Op.THREAD_EXIT:
            alive.discard(int(operation["thread"]))
        if operation["op"] == Op.THREAD_START:
            drop[i] = int(operation["argument"]) in alive
            alive.add(int(operation["argument"]))
    return shorter[~drop]
