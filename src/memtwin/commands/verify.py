# SPDX-License-Identifier: LGPL-2.1-or-later
"""memtwin verify: the twin held against the real machine."""

from __future__ import annotations

import json
import random
import shutil
import sys
from contextlib import nullcontext
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from memtwin.commands.files import read_text
from memtwin.errors import UserError
from memtwin.verify.host import Host
from memtwin.verify.operations import parse_script
from memtwin.verify.repeat import Repeat
from memtwin.verify.run import LEFT_OUT, Report, verify_sequences
from memtwin.verify.scene import Scene
from memtwin.verify.session import Session, Twin
from memtwin.verify.start import record_start, verify_start
from memtwin.verify.twin import KernelTwin

_GLIBC_HELP = "libc: a release such as 2.41, 2.36-i386, all, or nearest to this machine's; by default its own."


class What(StrEnum):
    """What can be verified."""

    kernel = "kernel"
    libc = "libc"
    start = "start"


class Against(StrEnum):
    """Who plays against the host."""

    twin = "twin"
    host = "host"


def command(
    what: Annotated[
        str,
        typer.Argument(
            help="kernel: random memory operations on the twin and on the real kernel. "
            "libc: random allocator calls on the twin and on a real C library. "
            "start: a program's layout after execve, and all its memory calls. "
            "FILE.py, or script FILE: the calls of a script, line by line."
        ),
    ],
    program: Annotated[
        list[str] | None, typer.Argument(help="start: the program and its arguments, after --; script: the file.")
    ] = None,
    seed: Annotated[str, typer.Option(help="Any text; a random one when left out. The same seed, the same run.")] = "",
    ops: Annotated[int, typer.Option(min=1, help="How many operations to compare.")] = 100_000,
    script: Annotated[Path | None, typer.Option(help="Play the operations of this file instead.")] = None,
    against: Annotated[Against, typer.Option(help="host: the real one against itself.")] = Against.twin,
    glibc: Annotated[str, typer.Option(help=_GLIBC_HELP)] = "",
    jobs: Annotated[int, typer.Option(min=1, help="libc: processes that share the work.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Play the same operations on the twin and on the real machine; exit status 1 when they differ."""
    if what == "script" or what.endswith(".py"):
        sys.exit(_play_calls([what] if what.endswith(".py") else program or [], as_json))
    if what not in list(What):
        raise UserError(f"verify {what!r}: choose from {', '.join(What)}, script FILE, or FILE.py")
    if what == What.libc:
        from memtwin.commands import verify_libc

        sys.exit(verify_libc.run(glibc, seed, ops, script, against is Against.host, as_json, jobs))
    if what == What.start:
        sys.exit(_start(program or [], as_json))
    with Scene() as scene:
        host = Host(scene, huge=True)
        twin: Twin = KernelTwin(huge_pages=host.huge_pages) if against is Against.twin else Repeat(host)
        try:
            session = Session(twin, host, huge=host.huge_pages > 0)
            if script:
                sys.exit(_play_script(session, script, as_json))
            report = _run(session, seed or f"{random.SystemRandom().randrange(1 << 32):x}", ops, as_json)
        finally:
            host.close()
    print(json.dumps(asdict(report)) if as_json else format_report(report))
    sys.exit(1 if report.differences else 0)


def _start(program: list[str], as_json: bool) -> int:
    """Compare one program's start; the exit status."""
    path = shutil.which(program[0]) if program else None
    if path is None:
        raise UserError(f"{' '.join(program) or 'no program'}: nothing to start; memtwin verify start -- PROGRAM …")
    report = verify_start(record_start([path, *program[1:]]))
    print(json.dumps(asdict(report)) if as_json else report)
    return 0 if report.equal else 1


def _play_calls(files: list[str], as_json: bool) -> int:
    """Play a script's calls on twin and host; the exit status."""
    from memtwin.commands.verify_script import play

    if len(files) != 1:
        raise UserError("verify script: name one file, as in `memtwin verify script FILE`")
    return play(Path(files[0]), as_json)


def _play_script(session: Session, path: Path, as_json: bool) -> int:
    """Play a file of operations, look at everything after each, tell the first difference; the exit status."""
    operations = parse_script(read_text(path))
    difference, _ = session.settle(operations, session.play(operations))
    if as_json:
        print(json.dumps({"operations": len(operations), "difference": difference and str(difference)}))
    else:
        print(difference or f"{len(operations)} operations, no difference")
    return 1 if difference else 0


def _run(session: Session, seed: str, operations: int, quiet: bool) -> Report:
    columns = (TextColumn("seed {task.fields[seed]}"), BarColumn(), MofNCompleteColumn())
    bar: Any = nullcontext() if quiet or not sys.stderr.isatty() else Progress(*columns, TimeRemainingColumn())
    with bar as shown:
        if shown is None:
            return verify_sequences(session, seed, operations)
        task = shown.add_task("", total=operations, seed=seed)
        return verify_sequences(session, seed, operations, lambda r: shown.update(task, completed=r.operations))


def format_report(report: Report) -> str:
    """The report for a person."""
    rate = report.operations / report.seconds if report.seconds else 0.0
    lines = [
        f"seed {report.seed}: {report.operations:,} operations in {report.sequences:,} sequences, "
        f"{report.seconds:.0f} s ({rate:,.0f} a second): {len(report.differences)} differences",
        "operations (of them refused or stopped by a signal): "
        + ", ".join(
            f"{name} {count:,} ({report.failures[name]:,})"
            for name, count in sorted(report.counts.items(), key=lambda item: -item[1])
        ),
        "never compared:",
        *(f"  {line}" for line in LEFT_OUT),
    ]
    if report.disturbed:
        lines.append("sequences that were equal when they were played again, and why they were not at first:")
        lines += [f"  {cause}: {count}" for cause, count in sorted(report.disturbed.items())]
    for found in report.differences:
        again = "" if found.repeats else " (did not show again, and yet nothing disturbed the host)"
        lines += ["", f"difference in sequence {found.seed}{again}:", found.text, "script:", found.script]
    return "\n".join(lines)
