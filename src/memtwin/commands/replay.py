# SPDX-License-Identifier: LGPL-2.1-or-later
"""`memtwin replay`: a trace through the twin, as it was and as it would have been under other settings."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from memtwin.commands.progress import count_progress, output_console
from memtwin.commands.trace import finish_import
from memtwin.libc.release import NEAREST, find_release, taken_for
from memtwin.replay.replay import Replay, replay
from memtwin.replay.settings import TUNABLES, environment_line, parse_settings
from memtwin.replay.trees import check_pid, replay_view
from memtwin.replay.twin import Options
from memtwin.trace.reader import Trace, open_trace

GLIBC_HELP = "What if: another release of glibc. nearest: as it was, an unknown release as the nearest known one."
_SETTINGS_HELP = f"What if: NAME=VALUE, may be repeated; NAME is one of {', '.join(TUNABLES)}."


def command(
    directory: Annotated[Path, typer.Argument(help="A trace, as `memtwin record` leaves it.")],
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help=_SETTINGS_HELP)] = None,
    glibc: Annotated[str, typer.Option("--glibc", help=GLIBC_HELP, show_default=False)] = "",
    pid: Annotated[int | None, typer.Option("--pid", help="Show this process in full instead of the biggest.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Replay a trace in the twin: where the memory went, and with --set where it would have gone."""
    options = options_of(settings, glibc)
    finish_import(directory)
    trace = open_trace(directory)
    check_pid(trace, pid)
    real, what_if = replay_both(trace, options)
    if as_json:
        print(json.dumps(to_json(trace, real, what_if), indent=1))
    else:
        output_console().print(replay_view(trace, real, what_if, pid))


def options_of(settings: list[str] | None, glibc: str) -> Options:
    """What --set and --glibc ask for. UserError: a setting that is none, or a release that is not known."""
    nearest = glibc == NEAREST
    if glibc and not nearest:
        find_release(glibc)
    return Options(parse_settings(settings or []), "" if nearest else glibc, nearest)


def replay_both(trace: Trace, options: Options) -> tuple[Replay, Replay | None]:
    """The replay of what happened, and that under the options if they ask for another one; with a progress bar.

    Which releases stand for the recorded ones is told first, if the nearest were asked for.
    """
    if options.nearest:
        for release in sorted({image.header.glibc for image in trace.processes if image.header.glibc}):
            print(taken_for(release), file=sys.stderr)
    events = sum(image.events for image in trace.processes)
    with count_progress("replaying", events * (1 + options.what_if)) as progress:
        real = replay(trace, Options(nearest=options.nearest), progress=progress)
        return real, replay(trace, options, real, progress=progress) if options.what_if else None


def to_json(trace: Trace, real: Replay, what_if: Replay | None) -> dict[str, Any]:
    """What --json prints."""
    result: dict[str, Any] = {
        "trace": str(trace.directory),
        "command": list(trace.command),
        "complete": trace.complete,
        "exact": real.exact,
        "processes": [one.to_json() for one in real.processes],
    }
    if what_if:
        settings = dict(what_if.options.settings)
        result["what_if"] = {
            "settings": settings,
            "glibc": what_if.options.glibc or None,
            "environment": environment_line(settings) if settings else None,
            "processes": [one.to_json() for one in what_if.processes],
        }
    return result
