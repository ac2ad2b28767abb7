# SPDX-License-Identifier: LGPL-2.1-or-later
"""How fast raw files become a trace, and in how much memory: 100 M events by default.

A C program is recorded and its raw file imported by a process of its own. Goals: at least 10 M events a second and
core, and a peak of memory that does not grow with the trace.

    python benchmarks/import.py [MILLIONS OF EVENTS]
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from memtwin.host.record import recorder_environment
from memtwin.trace.convert import import_raw

GOAL_RATE = 10e6

PROGRAM = r"""
#include <stdlib.h>
int main(int count, char **words)
{
    static char *slots[4096];
    unsigned long seed = 1;
    for (long i = atol(words[1]) / 2; i > 0; i--) {
        seed = seed * 6364136223846793005ul + 1442695040888963407ul;
        char **slot = &slots[seed >> 52];
        free(*slot);
        *slot = malloc(16 + (seed >> 40 & 1023));
        **slot = 1;
    }
}
"""


def import_here(raw: Path, trace: Path) -> None:
    """Import and print the figures of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    done = import_raw(sorted(raw.glob("*.raw")), trace, ["churn"])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    events = sum(header.events for header in done.headers)
    size = sum(path.stat().st_size for path in trace.iterdir())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{events:,} events: {events / cpu / 1e6:.1f} M/s and core (goal: {GOAL_RATE / 1e6:.0f}), "
        f"{events / wall / 1e6:.1f} M/s on the wall clock; peak {peak:.0f} MiB; {size / events:.2f} bytes an event; "
        f"load {os.getloadavg()[0]:.1f}",
        flush=True,
    )


def main() -> None:
    """Record, then import a tenth and the whole: the peaks tell whether memory is bounded."""
    millions = float(sys.argv[1]) if len(sys.argv) > 1 else 100.0
    with tempfile.TemporaryDirectory(dir=os.environ.get("MEMTWIN_BENCH_DIR")) as name:
        directory = Path(name)
        (directory / "churn.c").write_text(PROGRAM)
        subprocess.run(["cc", "-O2", "churn.c", "-o", "churn"], cwd=directory, check=True)
        for share in (0.1, 1.0):
            raw, trace = directory / f"raw{share}", directory / f"trace{share}"
            raw.mkdir()
            trace.mkdir()
            events = str(int(millions * share * 1e6))
            subprocess.run([directory / "churn", events], env=recorder_environment(raw), check=True)
            subprocess.run([sys.executable, __file__, "--import", raw, trace], check=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--import"]:
        import_here(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
