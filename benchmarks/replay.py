# SPDX-License-Identifier: LGPL-2.1-or-later
"""The twin's replay beside the real glibc doing the same calls, and beside whole programs.

    .venv/bin/python benchmarks/replay.py [--events N]

Columns of calls are played by benchmarks/native_replay.c on this machine's C library, which writes a byte into every
page of every block; the same run is recorded, and the recording replayed. Both sides: processor time, the best of
REPEAT. "twin" is the replay of columns in memory; "with reading" adds their decoding from Parquet.
"""

from __future__ import annotations

import argparse
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
from memtwin.trace.reader import Columns, ProcessImage, open_trace

HERE = Path(__file__).resolve().parent
MALLOC, FREE = 1, 4
REPEAT = 3
SEED = 20261125
GOALS = {"tcache pairs": 1.6, "16 to 1016 bytes": 1.3, "mixed to 1 MiB": 1.3}


def toggled(slots: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]:
    """The calls when each use of a slot frees what it holds, or fills it when it is empty."""
    order = np.argsort(slots, kind="stable")
    held = slots[order]
    first = np.r_[True, held[1:] != held[:-1]]
    within = np.arange(len(slots)) - np.maximum.accumulate(np.where(first, np.arange(len(slots)), 0))
    calls = np.empty(len(slots), np.uint8)
    calls[order] = np.where(within % 2, FREE, MALLOC)
    return calls


def columns_of(name: str, events: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], int]:
    """Sizes, slots and calls, and how many slots there are."""
    rng = np.random.default_rng(SEED)
    if name == "tcache pairs":
        slots = np.repeat(np.arange(events // 2) % 64, 2).astype(np.uint32)
        sizes = 24 + 16 * (slots % 24).astype(np.uint64)
        return sizes, slots, toggled(slots), 64
    count = 65536 if name == "16 to 1016 bytes" else 4096
    slots = rng.integers(0, count, events, np.uint32)
    if name == "16 to 1016 bytes":
        sizes = rng.integers(16, 1017, events, np.uint64)
    else:
        sizes = np.exp(rng.uniform(np.log(16), np.log(1 << 20), events)).astype(np.uint64)
    return sizes, slots, toggled(slots), count


class InMemory:
    """An image whose events are decoded already."""

    def __init__(self, image: ProcessImage) -> None:
        self._image = image
        self._columns = list(image.batches())

    def batches(self) -> Iterator[Columns]:
        """All events."""
        return iter(self._columns)

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


def replay_seconds(directory: Path) -> float:
    """Processor seconds of a replay without ledgers, reading and all."""
    began = time.process_time()
    replay(open_trace(directory), ledgers=False)
    return time.process_time() - began


def native_seconds(command: list[str]) -> float:
    """What native_replay says its calls took."""
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[0])


def columns_rows(place: Path, events: int) -> Iterator[list[str]]:
    """The rows of the three kinds of columns."""
    program = place / "native_replay"
    subprocess.run(["cc", "-O2", "-fno-builtin", str(HERE / "native_replay.c"), "-o", str(program)], check=True)
    for name, goal in GOALS.items():
        sizes, slots, calls, count = columns_of(name, events)
        path = place / "columns"
        path.write_bytes(sizes.tobytes() + slots.tobytes() + calls.tobytes())
        command = [str(program), str(path), str(len(calls)), str(count)]
        native = min(native_seconds(command) for _ in range(REPEAT))
        trace = record_quietly(command, place / "trace")
        image = InMemory(next(one for one in open_trace(trace).processes if one.events >= len(calls)))
        runs = [twin_seconds(image) for _ in range(REPEAT)]
        twin, reading = min(seconds for seconds, _ in runs), min(replay_seconds(trace) for _ in range(REPEAT))
        yield [
            name,
            f"{len(calls):,}",
            f"{native / len(calls) * 1e9:.1f}",
            f"{twin / image.events * 1e9:.1f}",
            f"{twin / native:.2f}",
            f"{goal}",
            f"{reading / native:.2f}",
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
        twin = min(replay_seconds(trace) for _ in range(REPEAT))
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
        first = table("calls", "events", "native ns", "twin ns", "ratio", "goal", "ratio with reading", "agreement")
        for row in columns_rows(place, given.events):
            first.add_row(*row)
        console.print(first)
        second = table("whole program", "events", "native ns an event", "replay ns an event", "ratio", "agreement")
        for row in whole_programs(place):
            second.add_row(*row)
        console.print(second)


def table(*names: str) -> Table:
    """An empty table; figures to the right."""
    made = Table(box=None, pad_edge=False, title=f"processor time, best of {REPEAT}, seed {SEED}", title_justify="left")
    for i, name in enumerate(names):
        made.add_column(name, justify="right" if i else "left", no_wrap=True)
    return made


if __name__ == "__main__":
    main()
