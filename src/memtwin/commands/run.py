# SPDX-License-Identifier: LGPL-2.1-or-later
"""`memtwin run`: record a program, replay what it did, say where its memory went."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Annotated, Any

import typer

from memtwin.commands.progress import byte_progress, output_console
from memtwin.commands.record import tell
from memtwin.commands.replay import GLIBC_HELP, options_of, replay_both, to_json
from memtwin.commands.streams import output_kept_apart
from memtwin.recording import record
from memtwin.replay.trees import replay_view
from memtwin.trace.schema import PROCESS_TREE, RAW_DIRECTORY

# The program's own options follow its name, also without --.
SETTINGS = {"context_settings": {"allow_interspersed_args": False}}


_PROGRAM_HELP = "The program and its arguments, best behind --."
_SET_HELP = "What if, as `memtwin replay` has it; may be repeated."
_FAST_HELP = "No lock: quicker with threads, whose order is then approximate."


def command(
    program: Annotated[list[str], typer.Argument(help=_PROGRAM_HELP, show_default=False)],
    directory: Annotated[Path | None, typer.Option("-o", "--output", help="Keep the trace in this directory.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help=_SET_HELP)] = None,
    glibc: Annotated[str, typer.Option("--glibc", help=GLIBC_HELP, show_default=False)] = "",
    fast: Annotated[bool, typer.Option("--fast", help=_FAST_HELP)] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, behind the program's own output.")] = False,
) -> None:
    """Run a program, replay its allocations in the twin, and show where its memory went. Exits as the program did."""
    options = options_of(settings, glibc)
    with _trace_directory(directory) as target:
        done = record(program, target, fast=fast, progress=lambda: byte_progress("importing"))
        with output_kept_apart():
            if done.trace is None or directory:
                tell(done, target)
            result: dict[str, Any] = {"status": done.status, "reason": done.reason}
            if done.trace:
                real, what_if = replay_both(done.trace, options)
                if as_json:
                    result |= to_json(done.trace, real, what_if)
                else:
                    output_console().print(replay_view(done.trace, real, what_if))
            if as_json:
                print(json.dumps(result, indent=1))
    sys.exit(done.status)


@contextmanager
def _trace_directory(given: Path | None) -> Iterator[Path]:
    """Where the trace goes: `given`, or a folder of our own until the end; it stays if its import found no room."""
    if given is not None:
        yield given
        return
    place = Path(mkdtemp(prefix="memtwin-"))
    target = place / "trace"
    try:
        yield target
    finally:
        if (target / PROCESS_TREE).exists() or not (target / RAW_DIRECTORY).exists():
            shutil.rmtree(place, ignore_errors=True)
