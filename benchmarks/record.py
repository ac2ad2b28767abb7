# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a recorded event costs: nothing, memtwin in exact and in fast order, and heaptrack where it is installed.

A C program allocates and frees in a tight loop over 256 slots, single-threaded and in 1, 2 and 8 threads. All of it
in one run, the modes in turn, so that a busy machine troubles all of them; the best of several rounds counts.
heaptrack also unwinds the stack at each call, which memtwin does not: it is not the same job. Goal: at most 25 ns on
top of native.

    python benchmarks/record.py [ROUNDS]
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

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
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (long i = 0; i < threads; i++)
        pthread_create(&id[i], NULL, work, (void *)i);
    for (long i = 0; i < threads; i++)
        pthread_join(id[i], NULL);
    if (!threads)
        work(NULL);
    clock_gettime(CLOCK_MONOTONIC, &to);
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


def main() -> None:
    """Print a table: ns per event, and what is on top of none."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        program = build(directory)
        print(f"ns per event, best of {rounds}; {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; "
              f"in brackets: on top of none (goal: at most {GOAL_NS})")  # fmt: skip
        for threads in THREADS:
            results = [one_round(program, threads, directory) for _ in range(rounds)]
            best = {mode: min(result[mode] for result in results) for mode in results[0]}
            cells = [
                f"{mode} {value:6.1f} ({value - best['none']:+6.1f}, {value / best['none']:.1f}x)"
                for mode, value in best.items()
            ]
            print(f"{threads} threads: " + ", ".join(cells))
        if "heaptrack" not in best:
            print("heaptrack is not installed: apt install heaptrack")


if __name__ == "__main__":
    main()
