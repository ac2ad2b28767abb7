# SPDX-License-Identifier: LGPL-2.1-or-later
"""memtwin verify libc: random allocator calls on the twin and on a real C library of some release."""

from __future__ import annotations

import json
import random
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from memtwin.commands.files import read_text
from memtwin.host.libcs import SOURCES, find_libc, host_release
from memtwin.libc.release import NEAREST, nearest_release
from memtwin.verify.libc.compare import Repeat, TwinMaker, compare
from memtwin.verify.libc.run import Report, verify
from memtwin.verify.libc.script import parse_script
from memtwin.verify.libc.twin import LibcTwin


def run(
    glibc: str, seed: str, operations: int, script: Path | None, against_host: bool, as_json: bool, jobs: int = 1
) -> int:
    """Compare one library, or all ("all", the operations shared out); the exit status.

    "nearest" is the library whose release is closest to this machine's. jobs: processes that share the work, each with
    a seed of its own that follows from `seed`. UserError: a library that is not known or not here.
    """
    make_twin: TwinMaker = Repeat if against_host else LibcTwin
    if script:
        return _play(script, make_twin, as_json)
    names = list(SOURCES) if glibc == "all" else [nearest_library() if glibc == NEAREST else glibc or host_release()]
    seed = seed or f"{random.SystemRandom().randrange(1 << 32):x}"
    share = operations // len(names)
    if jobs == 1:
        reports = [_verify(name, seed, share, make_twin, as_json) for name in names]
    else:
        reports = _verify_together(names, seed, share, make_twin, jobs)
        for report in () if as_json else reports:
            print(format_report(report))
    if as_json:
        told = [
            asdict(report) | {"counts": dict(report.counts), "disturbed": dict(report.disturbed)} for report in reports
        ]
        print(json.dumps(told if glibc == "all" else told[0]))
    return 1 if any(report.differences for report in reports) else 0


def _verify_together(names: list[str], seed: str, share: int, make_twin: TwinMaker, jobs: int) -> list[Report]:
    """A report a library, its operations split over `jobs` processes."""
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        parts = [
            [
                pool.submit(verify, find_libc(name), f"{seed}/{number}", share // jobs, make_twin)
                for number in range(jobs)
            ]
            for name in names
        ]
        return [merged(seed, [future.result() for future in futures]) for futures in parts]


def merged(seed: str, parts: list[Report]) -> Report:
    """Reports of one library as one, its seed the one that theirs follow from; the seconds are the longest's."""
    whole = Report(parts[0].libc, seed)
    for part in parts:
        whole.operations += part.operations
        whole.columns += part.columns
        whole.seconds = max(whole.seconds, part.seconds)
        whole.counts += part.counts
        whole.disturbed += part.disturbed
        whole.differences += part.differences
    return whole


def nearest_library() -> str:
    """Name of the library whose release is closest to that of this machine's glibc; says so. UserError: none here."""
    here = host_release()
    taken = nearest_release(here, tuple(name for name in SOURCES if "-" not in name))
    print(f"this machine has glibc {here}: {taken} is taken", file=sys.stderr)
    return taken


def _verify(name: str, seed: str, operations: int, make_twin: TwinMaker, quiet: bool) -> Report:
    columns = (TextColumn("glibc {task.fields[name]}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar: Any = nullcontext() if quiet or not sys.stderr.isatty() else Progress(*columns)
    libc = find_libc(name)
    with bar as shown:
        if shown is None:
            report = verify(libc, seed, operations, make_twin)
        else:
            task = shown.add_task("", total=operations, name=name)
            report = verify(
                libc, seed, operations, make_twin, None, lambda r: shown.update(task, completed=r.operations)
            )
    if not quiet:
        print(format_report(report), flush=True)
    return report


def _play(path: Path, make_twin: TwinMaker, as_json: bool) -> int:
    """Play the operations of a file; tell the first difference; the exit status."""
    script = parse_script(read_text(path))
    libc = find_libc(script.libc)
    found = compare(libc, script.operations, script.slots, script.environment, make_twin)
    if as_json:
        print(json.dumps({"operations": len(script.operations), "difference": found and str(found)}))
    else:
        print(found or f"{len(script.operations)} operations on glibc {script.libc}, no difference")
    return 1 if found else 0


def format_report(report: Report) -> str:
    """The report for a person."""
    rate = report.operations / report.seconds if report.seconds else 0.0
    lines = [
        f"glibc {report.libc}, seed {report.seed}: {report.operations:,} operations in {report.columns:,} columns, "
        f"{report.seconds:.0f} s ({rate:,.0f} a second): {len(report.differences)} differences",
        "  " + ", ".join(f"{name} {count:,}" for name, count in report.counts.most_common()),
        *(f"  played again: {count} times {cause}" for cause, count in report.disturbed.items()),
        "never compared:",
        *(f"  {line}" for line in report.left_out),
    ]
    for found in report.differences:
        lines += ["", f"difference in column {found.column}:", found.text, "script:", found.script]
    return "\n".join(lines)
