# SPDX-License-Identifier: LGPL-2.1-or-later
"""Record one program, replay it, compare."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from tests.agreement.cases import Case
from tests.agreement.inputs import Inputs

from memtwin.replay.replay import replay
from memtwin.replay.result import ProcessResult
from memtwin.trace.reader import open_trace

LIMIT = 0.02  # of the measured resident heap: what the twin's may be off


@dataclass
class Outcome:
    """What came of one recording. `biggest` is the process with the most compared addresses."""

    case: Case
    variant: str
    processes: list[ProcessResult]
    seconds: float

    @property
    def events(self) -> int:
        """Of all processes."""
        return sum(one.events for one in self.processes)

    @property
    def compared(self) -> int:
        """Of all processes."""
        return sum(one.compared for one in self.processes)

    @property
    def equal(self) -> int:
        """Of all processes."""
        return sum(one.equal for one in self.processes)

    @property
    def biggest(self) -> ProcessResult:
        """The process that the case is about."""
        return max(self.processes, key=lambda one: one.compared)

    @property
    def exact(self) -> bool:
        """Whether every address of every process is the recorded one."""
        return self.compared > 0 and all(one.exact for one in self.processes)

    @property
    def missed_a_stack(self) -> bool:
        """Whether all that differs is one block, mapped lower by just a thread's stack and its guard page.

        Then the recorder looked at the address space right before another thread mapped that stack (docs/guide/exactness):
        the recording lacks a mapping, and says nothing of the twin.
        """
        stack = resource.getrlimit(resource.RLIMIT_STACK)[0] + resource.getpagesize()
        found = self.biggest.first_mismatch
        return self.compared - self.equal == 1 and found is not None and found.twin - found.recorded == stack

    @property
    def heap_bytes(self) -> int:
        """What its allocator had in RAM at its largest."""
        return max((one.measured for one in self.biggest.samples), default=0)

    @property
    def heap_is_right(self) -> bool:
        """Whether the resident heap is within LIMIT, or has a reason not to be."""
        errors = self.biggest.heap_error().values()
        return bool(self.case.sparse) or all(error is None or abs(error) <= LIMIT for error in errors)


def variants(case: Case, whole: bool) -> Iterator[tuple[str, list[str], dict[str, str]]]:
    """Name, what stands before the command, environment: randomisation on and off, and arena limits."""
    yield "", [], {}
    if not case.threaded:
        yield "no ASLR", ["setarch", "-R"], {}
    elif whole:
        for limit in ("1", "2"):
            yield f"arena_max={limit}", [], {"MALLOC_ARENA_MAX": limit}


def record(command: list[str], trace: Path, environment: dict[str, str]) -> None:
    """Record a program, its output thrown away."""
    run = [sys.executable, "-m", "memtwin", "record", "-o", str(trace), "--", *command]
    environment = {**os.environ, "LC_ALL": "C", **environment}
    done = subprocess.run(run, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if not (trace / "trace.json").exists():
        raise SystemExit(f"agreement: {' '.join(command[:4])} was not recorded: {done.stderr.strip()}")


def outcome(case: Case, variant: str, prefix: list[str], environment: dict[str, str], inputs: Inputs) -> Outcome:
    """Record one variant of a case and replay it."""
    trace = inputs.place / "trace"
    shutil.rmtree(trace, ignore_errors=True)
    record([*prefix, *case.command(inputs)], trace, {**case.environment, **environment})
    started = time.perf_counter()
    result = replay(open_trace(trace))
    return Outcome(case, variant, result.processes, time.perf_counter() - started)


def missing(case: Case) -> list[str]:
    """Programs that the case needs and that are not there."""
    return [name for name in case.needs if shutil.which(name) is None]


def share(error: float | None) -> str:
    """A heap error for the table."""
    return "-" if error is None else f"{error:+.1%}"


def row_of(one: Outcome) -> list[str]:
    """The cells of one outcome."""
    error = one.biggest.heap_error()
    return [
        one.case.name,
        one.variant,
        str(len(one.processes)),
        f"{one.events:,}",
        f"{one.compared:,}",
        f"{one.equal:,}",
        "1.0" if one.exact else f"{one.equal / max(one.compared, 1):.6f}",
        share(error["peak"]),
        share(error["end"]),
        f"{one.seconds:.1f}",
        "" if one.exact and one.heap_is_right else "!",
    ]


def report(one: Outcome) -> None:
    """What is known of the first mismatch of each process that has one."""
    for process in one.processes:
        found = process.first_mismatch
        if process.exact:
            continue
        print(f"\n{one.case.name} {one.variant}: process {process.key} {' '.join(process.command)[:60]}")
        print(f"  {process.equal:,} of {process.compared:,} equal; {process.notes}")
        if found:
            print(f"  event {found.operation}: twin {found.twin:#x}")
            print("  " + "\n  ".join((*found.state, "before:", *found.last_events)))


def table_of(outcomes: list[Outcome]) -> Table:
    """All outcomes."""
    table = Table(box=None, pad_edge=False)
    for name in ("program", "variant"):
        table.add_column(name, no_wrap=True)
    for name in ("processes", "events", "compared", "equal", "agreement", "heap at peak", "at end", "seconds", ""):
        table.add_column(name, justify="right")
    for one in outcomes:
        table.add_row(*row_of(one))
    return table
