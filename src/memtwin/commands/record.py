# SPDX-License-Identifier: LGPL-2.1-or-later
"""`memtwin record`: run a program and keep its allocation events."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from memtwin.commands.progress import byte_progress
from memtwin.commands.streams import output_kept_apart
from memtwin.commands.trace import to_json
from memtwin.oneline import one_line
from memtwin.recording import Recorded, record
from memtwin.units import format_size

# The program's own options follow its name, also without --.
SETTINGS = {"context_settings": {"allow_interspersed_args": False}}


def command(
    program: Annotated[list[str], typer.Argument(help="The program and its arguments, best behind --.")],
    directory: Annotated[
        Path, typer.Option("-o", "--output", help="The trace to write: a directory, new, empty or an older trace.")
    ],
    fast: Annotated[
        bool, typer.Option("--fast", help="No lock: quicker with threads, whose order is then approximate.")
    ] = False,
    sample: Annotated[bool, typer.Option("--sample/--no-sample", help="Measure resident sizes meanwhile.")] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on one line, behind the program's output.")
    ] = False,
) -> None:
    """Run a program and record its memory events as a trace. The exit status is the program's."""
    done = record(program, directory, fast=fast, sample=sample, progress=lambda: byte_progress("importing"))
    with output_kept_apart():
        tell(done, directory)
        if as_json:
            told = to_json(done.trace) if done.trace else {}
            print(json.dumps({"status": done.status, "reason": done.reason, **told}))
    sys.exit(done.status)


def tell(done: Recorded, directory: Path) -> None:
    """Say on standard error what was recorded, what was not and why; a line each."""
    lines = [*filter(None, [done.reason]), *done.problems]
    if done.trace:
        events = sum(image.events for image in done.trace.processes)
        size = sum(path.stat().st_size for path in directory.glob("*.parquet"))
        images = len(done.trace.processes)
        lines.append(f"{directory}: {events:,} events of {images} process{'es' * (images > 1)}, {format_size(size)}")
        if not done.trace.complete:
            lines.append(f"the import was interrupted; `memtwin trace {directory}` completes it")
    for line in lines:
        print(f"memtwin: {one_line(line)}", file=sys.stderr)
