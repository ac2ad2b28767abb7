# SPDX-License-Identifier: LGPL-2.1-or-later
"""The command line. One file a subcommand: a function `command` with typer's annotations; its docstring is the help.

A mistake of the user ends in one line on stderr and exit status 2, never in a traceback.
"""

from __future__ import annotations

import signal
import sys
from importlib import import_module
from typing import Any, NoReturn

import typer

from memtwin.commands.streams import OUTPUT_FAILED, is_of_output, open_missing, tell_of_output
from memtwin.errors import UserError
from memtwin.oneline import one_line

# The order is the order of the help. run and record take the rest of the line for the program they start.
COMMANDS: tuple[str, ...] = ("run", "record", "trace", "replay", "layout", "lab", "quiz", "verify")

UsageError: Any = typer.BadParameter.__bases__[0]  # typer brings its own click or uses the installed one, by release

app = typer.Typer(
    name="memtwin",
    help="A digital twin of a Linux process's memory: record a program, replay it, see where its memory goes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def options() -> None:
    """Only here so that a single subcommand stays a subcommand."""


def _add_command(name: str) -> None:
    """Import one. Threads that libraries start meanwhile (OpenBLAS) inherit a mask that takes no signals: those that
    are sent to memtwin stay for its main thread, which may have to pass them on to a program."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        module = import_module(f"memtwin.commands.{name}")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    app.command(name, **getattr(module, "SETTINGS", {}))(module.command)


def main() -> None:
    """Entry point of the `memtwin` script."""
    open_missing()
    wanted = [name for name in sys.argv[1:2] if name in COMMANDS]
    for name in wanted or COMMANDS:  # a command that runs need not wait for the others' imports
        _add_command(name)
    try:
        status = app(standalone_mode=False)
        sys.stdout.flush()
    except (UserError, UsageError) as error:
        _refuse(error)
    except (typer.Abort, KeyboardInterrupt):
        print("memtwin: interrupted", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        if not is_of_output(error):
            raise
        tell_of_output(error)
        sys.exit(0 if isinstance(error, BrokenPipeError) else OUTPUT_FAILED)  # who reads a pipe may have seen enough
    sys.exit(status if isinstance(status, int) else 0)


def _refuse(error: Any) -> NoReturn:
    """One line on stderr, exit status 2; the help where nothing was asked."""
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.ctx.get_help() or "", file=sys.stderr)
    elif isinstance(error, UserError):
        print(f"memtwin: {error}", file=sys.stderr)
    else:
        name = error.ctx.command_path if error.ctx else "memtwin"
        print(
            f"memtwin: {one_line(' '.join(error.format_message().split())).rstrip('.')} (see {name} --help)",
            file=sys.stderr,
        )
    sys.exit(2)
