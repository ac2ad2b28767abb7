# SPDX-License-Identifier: LGPL-2.1-or-later
"""The command line. One file a subcommand: a function `command` with typer's annotations; its docstring is the help.

A mistake of the user ends in one line on stderr and exit status 2, never in a traceback.
"""

from __future__ import annotations

import sys
from importlib import import_module

import typer

from memtwin.errors import UserError

# The order is the order of the help. run and record take the rest of the line for the program they start.
COMMANDS: tuple[str, ...] = ("layout", "trace", "verify")

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


for _name in COMMANDS:
    _module = import_module(f"memtwin.commands.{_name}")
    app.command(_name, **getattr(_module, "SETTINGS", {}))(_module.command)


def main() -> None:
    """Entry point of the `memtwin` script."""
    try:
        app()
    except UserError as error:
        print(f"memtwin: {error}", file=sys.stderr)
        sys.exit(2)
