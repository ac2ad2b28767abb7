# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a recorded event costs: nothing, memtwin in exact and in fast order, and heaptrack where it is installed.

A C program allocates and frees in a tight loop over 256 slots, single-threaded and in 1, 2 and 8 threads; it measures
its own processor time, user and system, which includes what the recorder asks of the kernel. The modes run in turn, so
that a busy machine troubles all of them; minimum and median of several rounds count. First all of it on one processor.
Then, where there are several threads, on all: in exact order one waits while another has the lock, and a wait is
processor time too. heaptrack also unwinds the stack at each call, which memtwin does not: it is not the same job.
Goal: at most 25 ns on top of native.

    python benchmarks/record.py [ROUNDS]
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from memtwin.host.record import recorder_environment

EVENTS = 4_000_000
FEWER = 10  # heaptrack gets so many times fewer: it takes that much longer
THREADS = (0, 1, 2, 8)
GOAL_NS = 25

PROGRAM = r"""
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
static long rounds;
static void *work(void *argument)
{
    void *slots[256] = {0};
    unsigned long seed = (long)argument + 1;
    for (long i = 0; i < rounds; i++) {
        seed = seed * 6364136223846793005ul + 1442695040888963407ul;
        void **slot = &slots[seed >> 56];
        free(*slot);
        *slot = malloc(16 + (seed >> 40 & 1023));
    }
    for (int i = 0; i < 256; i++)
        free(slots[i]);
    return NULL;
}
int main(int count, char **words)
{
    long threads = atol(words[1]), all = atol(words[2]) / 2;
    struct timespec from, to;
    pthread_t id[64];
    rounds = threads ? all / threads : all;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    for (long i = 0; i < threads; i++)
        pthread_create(&id[i], NULL, work, (void *)i);
    for (long i = 0; i < threads; i++)
        pthread_join(id[i], NULL);
    if (!threads)
        work(NULL);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    fprintf(stderr, "%.3f\n", ((to.tv_sec - from.tv_sec) * 1e9 + to.tv_nsec - from.tv_nsec) / (2.0 * all));
    return 0;
}
"""


def build(directory: Path) -> Path:
    """The compiled program."""
    (directory / "churn.c").write_text(PROGRAM)
    subprocess.run(["cc", "-O2", "churn.c", "-o", "churn", "-pthread"], cwd=directory, check=True)
    return directory / "churn"


def nanoseconds(command: list[str], environment: dict[str, str] | None = None) -> float:
    """What the program measured of itself, per event."""
    done = subprocess.run(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True
    )
    return float(next(line for line in reversed(done.stderr.splitlines()) if line.replace(".", "", 1).isdigit()))


def one_round(program: Path, threads: int, directory: Path) -> dict[str, float]:
    """Each mode once."""
    found = {}
    command = [str(program), str(threads), str(EVENTS)]
    found["none"] = nanoseconds(command)
    for mode in ("exact", "fast"):
        raw = directory / "raw"
        raw.mkdir()
        found[mode] = nanoseconds(command, recorder_environment(raw, fast=mode == "fast"))
        shutil.rmtree(raw)
    if shutil.which("heaptrack"):
        fewer = [str(program), str(threads), str(EVENTS // FEWER)]
        found["heaptrack"] = nanoseconds(["heaptrack", "--raw", "-o", str(directory / "h"), *fewer])
    return found


def cases() -> list[tuple[int, set[int]]]:
    """How many threads on which processors."""
    here = os.sched_getaffinity(0)
    one = [(threads, {max(here)}) for threads in THREADS]
    return one + [(threads, here) for threads in THREADS if threads > 1 and len(here) > 1]


def rows(threads: int, results: list[dict[str, float]], processors: int) -> list[list[str]]:
    """The table's rows for one case: a mode each."""
    best = {mode: min(result[mode] for result in results) for mode in results[0]}
    middle = {mode: statistics.median(result[mode] for result in results) for mode in results[0]}
    return [
        [
            str(threads),
            str(processors),
            mode,
            f"{best[mode]:.1f}",
            f"{middle[mode]:.1f}",
            f"{best[mode] - best['none']:+.1f}" if mode != "none" else "",
            f"{middle[mode] - middle['none']:+.1f}" if mode != "none" else "",
        ]
        for mode in best
    ]


def main() -> None:
    """Print a table: ns per event, and what is on top of none."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    title = f"ns of processor time an event, {rounds} rounds, load {os.getloadavg()[0]:.1f}; goal: +{GOAL_NS} at most"
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for name in ("threads", "processors", "recorder", "minimum", "median", "on top", "on top, median"):
        table.add_column(name, justify="left" if name == "recorder" else "right", no_wrap=True)
    with tempfile.TemporaryDirectory(dir=os.environ.get("MEMTWIN_BENCH_DIR")) as name:
        directory = Path(name)
        program = build(directory)
        for threads, processors in cases():
            os.sched_setaffinity(0, processors)
            results = [one_round(program, threads, directory) for _ in range(rounds)]
            for row in rows(threads, results, len(processors)):
                table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 110, highlight=False).print(table)
    if not shutil.which("heaptrack"):
        print("heaptrack is not installed: apt install heaptrack")


if __name__ == "__main__":
    main()
