# SPDX-License-Identifier: LGPL-2.1-or-later
"""How fast the recorder's files become a trace, and the trace is replayed; and in how much memory: 100 M events.

A C program is recorded; its raw file is imported, and with --replay the trace replayed, each in a process of its own,
for a tenth of the events first: peaks that do not grow with the trace tell that memory is bounded. Goals: an import of
at least 10 M events a second and core; each stage in no more memory than the program's own plus 1 GiB.

    python benchmarks/import.py [--events 100000000] [--blocks 4096] [--replay]

--blocks: alive at a time, half a KiB each: 2097152 make a heap of 1 GiB.

MEMTWIN_BENCH_DIR: where the files go, about 20 bytes an event; default: the directory for temporary files.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from memtwin.host.record import recorder_environment
from memtwin.replay.replay import replay
from memtwin.trace.convert import import_raw
from memtwin.trace.reader import open_trace
from memtwin.units import GIB, KIB, MIB

GOAL_RATE = 10e6

PROGRAM = r"""
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(int count, char **words)
{
    unsigned long seed = 1, blocks = atol(words[2]);
    char **slots = calloc(blocks, sizeof *slots);
    for (long i = atol(words[1]) / 2; i > 0; i--) {
        seed = seed * 6364136223846793005ul + 1442695040888963407ul;
        char **slot = &slots[(seed >> 32) * blocks >> 32];
        free(*slot);
        *slot = malloc(16 + (seed >> 20 & 1023));
        **slot = 1;
    }
    char status[4096] = "";
    int fd = open("/proc/self/status", O_RDONLY);
    if (read(fd, status, sizeof status - 1) > 0)
        write(2, strstr(status, "VmHWM:") + 6, 32);
}
"""


def peak_bytes() -> int:
    """The most that this process has had in RAM (ru_maxrss would be its parent's, if that had more)."""
    return first_number(Path("/proc/self/status").read_text().partition("VmHWM:")[2]) * KIB


def first_number(text: str) -> int:
    """The number that a text begins with."""
    return int(text.split()[0])


def import_here(raw: Path, trace: Path, own_bytes: int) -> None:
    """Import, and print the figures of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    done = import_raw(sorted(raw.glob("*.raw")), trace, ["churn"])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    events = sum(header.events for header in done.headers)
    size = sum(path.stat().st_size for path in trace.iterdir())
    verdict = "reached" if events / cpu >= GOAL_RATE else "missed"
    print(f"import  {rates(events, wall, cpu)} (goal of {GOAL_RATE / 1e6:.0f} M/s and core: {verdict}); "
          f"{memory(own_bytes)}; {size / events:.2f} bytes an event", flush=True)  # fmt: skip


def replay_here(trace: Path, own_bytes: int) -> None:
    """Replay with ledgers, and print the figures of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = replay(open_trace(trace))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    events = sum(one.events for one in result.processes)
    agreement = min(one.agreement or 0.0 for one in result.processes)
    print(f"replay  {rates(events, wall, cpu)}; {memory(own_bytes)}; agreement {agreement:.6f}", flush=True)


def rates(events: int, wall: float, cpu: float) -> str:
    """How many events, and how fast."""
    core, clock, load = events / cpu / 1e6, events / wall / 1e6, os.getloadavg()[0]
    return f"{events:,} events: {core:.1f} M/s and core, {clock:.1f} M/s by the clock, load {load:.1f}"


def memory(own_bytes: int) -> str:
    """The peak beside what it may be: the program's own and 1 GiB."""
    limit = own_bytes + GIB
    verdict = "within" if peak_bytes() <= limit else "OVER"
    return f"peak {peak_bytes() / MIB:.0f} MiB, {verdict} the program's {own_bytes / MIB:.0f} MiB + 1 GiB"


def record(directory: Path, events: int, blocks: int) -> tuple[Path, int]:
    """Record the program with so many blocks alive; the directory with its raw file, and its own peak in bytes."""
    raw = directory / "raw"
    raw.mkdir()
    command = [directory / "churn", str(events), str(blocks)]
    done = subprocess.run(command, env=recorder_environment(raw), check=True, stderr=subprocess.PIPE, text=True)
    size = sum(path.stat().st_blocks * 512 for path in raw.iterdir())
    plain = subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True)
    own_bytes, recorded_bytes = first_number(plain.stderr) * KIB, first_number(done.stderr) * KIB
    print(f"record  {events:,} events: {size / events:.2f} bytes an event; the program's own peak "
          f"{own_bytes / MIB:.0f} MiB, when recorded {recorded_bytes / MIB:.0f} MiB", flush=True)  # fmt: skip
    return raw, own_bytes


def stages(events: int, blocks: int, replays: bool) -> None:
    """Record, import and replay so many events, in files that are gone afterwards."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("MEMTWIN_BENCH_DIR")) as name:
        directory, trace = Path(name), Path(name) / "trace"
        (directory / "churn.c").write_text(PROGRAM)
        subprocess.run(["cc", "-O2", "churn.c", "-o", "churn"], cwd=directory, check=True)
        raw, own_bytes = record(directory, events, blocks)
        trace.mkdir()
        subprocess.run([sys.executable, __file__, "--import", raw, trace, str(own_bytes)], check=True)
        if replays:
            subprocess.run([sys.executable, __file__, "--replaying", trace, str(own_bytes)], check=True)


def main() -> None:
    """A tenth, and the whole."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=100_000_000)
    parser.add_argument("--blocks", type=int, default=4096)
    parser.add_argument("--replay", action="store_true", help="also replay the trace, with ledgers")
    given = parser.parse_args()
    for events in (given.events // 10, given.events):
        stages(events, given.blocks, given.replay)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--import"]:
        import_here(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
    elif sys.argv[1:2] == ["--replaying"]:
        replay_here(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
