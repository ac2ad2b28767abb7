# SPDX-License-Identifier: LGPL-2.1-or-later
"""The twin's replay beside the real glibc doing the same calls, and beside whole programs.

    .venv/bin/python benchmarks/replay.py [--events N]

Columns of calls, single-threaded and in eight threads. What each side does:

native  benchmarks/native_replay.c on this machine's C library: reads size, slot and call (13 bytes an event), makes the
        call, stores into every page of every block. Eight threads take turns of 100 events, as the recording has them:
        timed, one thread makes all their calls in that order, each out of its thread's cache and arena.
free    the eight threads, each an eighth of the events, free to run beside each other, so that each has a processor's
        caches for itself for a while: another program than the one that the twin replays.
twin    the recording of that run, its columns in memory (29 bytes an event): makes the call on the simulated heap,
        checks and counts every page of every block, compares every address, and keeps live bytes and the time line.
        It knows what comes next, and fetches blocks ahead into the processor's cache; a program cannot.
reading the same with decoding the trace from Parquet, in a second thread ahead of the replay.

All figures are processor time of all threads, user and system, the best of REPEAT; and the wall clock of reading.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from memtwin.replay.image import ImageReplay
from memtwin.replay.replay import replay
from memtwin.replay.surroundings import Moment, Surroundings
from memtwin.replay.twin import Options, Twin
from memtwin.trace.reader import Columns, MapsSnapshot, ProcessImage, open_trace

HERE = Path(__file__).resolve().parent
MALLOC, FREE = 1, 4
REPEAT = 5
THREADS = 8
SEED = 20261125
GOALS = {"tcache pairs": 1.6, "16 to 1016 bytes": 1.3, "mixed to 1 MiB": 1.3}
SHARES = {"tcache pairs": 2.0, "mixed to 1 MiB": 0.5}  # of the events: they cost little, or much


def toggled(slots: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]:
    """The calls when each use of a slot frees what it holds, or fills it when it is empty."""
    order = np.argsort(slots, kind="stable")
    held = slots[order]
    first = np.r_[True, held[1:] != held[:-1]]
    within = np.arange(len(slots)) - np.maximum.accumulate(np.where(first, np.arange(len(slots)), 0))
    calls = np.empty(len(slots), np.uint8)
    calls[order] = np.where(within % 2, FREE, MALLOC)
    return calls


def slots_of(name: str) -> int:
    """How many blocks may live."""
    return {"tcache pairs": 64, "16 to 1016 bytes": 65536}.get(name, 4096)


def columns_of(name: str, events: int, count: int, seed: int = SEED) -> tuple[npt.NDArray[Any], ...]:
    """Sizes, slots out of `count`, and calls."""
    rng = np.random.default_rng(seed)
    if name == "tcache pairs":
        slots = np.repeat(np.arange(events // 2) % count, 2).astype(np.uint32)
        sizes = 24 + 16 * (slots % 24).astype(np.uint64)
        return sizes, slots, toggled(slots)
    slots = rng.integers(0, count, events, np.uint32)
    if name == "16 to 1016 bytes":
        sizes = rng.integers(16, 1017, events, np.uint64)
    else:
        sizes = np.exp(rng.uniform(np.log(16), np.log(1 << 20), events)).astype(np.uint64)
    return sizes, slots, toggled(slots)


def parts_of(name: str, events: int, threads: int) -> tuple[npt.NDArray[Any], ...]:
    """The columns of all threads one after the other (0: of a single-threaded process)."""
    parts = max(threads, 1)
    count = max(slots_of(name) // parts, 64)
    each = [columns_of(name, events // parts, count, SEED + i) for i in range(parts)]
    return tuple(np.concatenate(columns) for columns in zip(*each, strict=True))


class InMemory:
    """An image whose events and snapshots are decoded already."""

    def __init__(self, image: ProcessImage) -> None:
        self._image = image
        self._columns = list(image.batches())
        self._snapshots = list(image.snapshots())

    def batches(self) -> Iterator[Columns]:
        """All events."""
        return iter(self._columns)

    def snapshots(self) -> Iterator[MapsSnapshot]:
        """All snapshots of the mappings."""
        return iter(self._snapshots)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._image, name)


def twin_seconds(image: Any) -> tuple[float, float]:
    """Processor seconds of one replay of columns in memory, and the agreement."""
    twin = Twin.begin(image.header, next(image.snapshots(), None), Options())
    found = Surroundings([Moment(0)])
    work = ImageReplay(image, twin, found, real=True, samples=[])
    began = time.process_time()
    work.run()
    return time.process_time() - began, twin.player.equal / max(twin.player.compared, 1)


def replay_seconds(directory: Path) -> tuple[float, float]:
    """Processor and wall seconds of a replay without ledgers, reading and all."""
    began, wall = time.process_time(), time.perf_counter()
    replay(open_trace(directory), ledgers=False)
    return time.process_time() - began, time.perf_counter() - wall


def native_seconds(command: list[str]) -> float:
    """What native_replay says its calls took."""
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[0])


def columns_rows(place: Path, events: int) -> Iterator[list[str]]:
    """A row for each kind of columns, single-threaded and in eight threads."""
    program = place / "native_replay"
    source = str(HERE / "native_replay.c")
    subprocess.run(["cc", "-O2", "-fno-builtin", "-pthread", source, "-o", str(program)], check=True)
    for threads in (0, THREADS):
        for name in GOALS:
            yield columns_row(place, program, name, int(events * SHARES.get(name, 1)), threads)


def columns_row(place: Path, program: Path, name: str, events: int, threads: int) -> list[str]:
    """Both sides of one kind of columns."""
    columns, path = parts_of(name, events, threads), place / "columns"
    path.write_bytes(b"".join(column.tobytes() for column in columns))
    count = max(slots_of(name) // max(threads, 1), 64)
    command = [str(program), str(path), str(len(columns[0])), str(count), str(threads)]
    trace = record_quietly([*command, "turns"], place / "trace")
    image = InMemory(next(one for one in open_trace(trace).processes if one.events >= len(columns[0])))
    runs, natives, free = [], [], []
    for _ in range(REPEAT):  # in turn, so that a busy machine troubles both
        natives.append(native_seconds([*command, "carried"]))
        runs.append(twin_seconds(image))
        free.append(native_seconds(command))
    native, twin = min(natives), min(seconds for seconds, _ in runs)
    beside = f"{min(free) / len(columns[0]) * 1e9:.1f}", f"{twin / min(free):.2f}"
    reading = [replay_seconds(trace) for _ in range(REPEAT)]
    return [
        name,
        str(max(threads, 1)),
        f"{native / len(columns[0]) * 1e9:.1f}",
        f"{twin / image.events * 1e9:.1f}",
        f"{twin / native:.2f}",
        f"{GOALS[name]}",
        *(beside if threads else ("", "")),
        f"{min(one[0] for one in reading) / image.events * 1e9:.1f}",
        f"{min(one[1] for one in reading) / image.events * 1e9:.1f}",
        f"{runs[0][1]:.6f}",
    ]


def record_quietly(command: list[str], trace: Path) -> Path:
    """Record a program in a process of its own, whose output goes nowhere."""
    code = f"import sys; from memtwin.recording import record; record({command!r}, {str(trace)!r})"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return trace


def program_seconds(command: list[str]) -> float:
    """Processor seconds, user and system, of a program and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def whole_programs(place: Path) -> Iterator[list[str]]:
    """Programs as they run, beside the replay of what they did: they also do their work, fault and call the kernel."""
    threads = place / "threads"
    source = HERE.parent / "tests" / "programs" / "threads.c"
    subprocess.run(["cc", "-O1", "-pthread", str(source), "-o", str(threads)], check=True)
    work = [sys.executable, str(HERE.parent / "tests" / "programs" / "work.py"), "20000"]
    for name, command in {
        "one thread": [str(threads), "crowd", "1", "1000000"],
        "eight threads": [str(threads), "handover", "8", "125000"],
        "python3 json, re, xml": ["env", "PYTHONMALLOC=malloc", *work],
    }.items():
        native = min(program_seconds(command) for _ in range(REPEAT))
        trace = record_quietly(command, place / "trace")
        events = sum(image.events for image in open_trace(trace).processes)
        twin = min(replay_seconds(trace)[0] for _ in range(REPEAT))
        result = replay(open_trace(trace), ledgers=False)
        share = sum(one.equal for one in result.processes) / max(sum(one.compared for one in result.processes), 1)
        per_event = [f"{seconds / events * 1e9:.1f}" for seconds in (native, twin)]
        yield [name, f"{events:,}", *per_event, f"{twin / native:.2f}", f"{share:.6f}"]


def main() -> None:
    """Both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=4_000_000, help="calls of each kind of columns")
    given = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 130, highlight=False)
    with tempfile.TemporaryDirectory(prefix="memtwin-bench-") as name:
        place = Path(name)
        first = table(
            "calls",
            "threads",
            "native ns",
            "twin ns",
            "ratio",
            "goal",
            "free ns",
            "ratio",
            "reading ns",
            "wall ns",
            "agreement",
        )
        for row in columns_rows(place, given.events):
            first.add_row(*row)
        console.print(first)
        second = table("whole program", "events", "native ns an event", "replay ns an event", "ratio", "agreement")
        for row in whole_programs(place):
            second.add_row(*row)
        console.print(second)


def table(*names: str) -> Table:
    """An empty table; figures to the right."""
    made = Table(
        box=None,
        pad_edge=False,
        title=f"processor time an event, best of {REPEAT}, seed {SEED}, load {os.getloadavg()[0]:.1f}",
        title_justify="left",
    )
    for i, name in enumerate(names):
        made.add_column(name, justify="right" if i else "left", no_wrap=True)
    return made


if __name__ == "__main__":
    main()
