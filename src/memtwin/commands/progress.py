# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a terminal gets: the bar of long jobs, on standard error and only where that is one; the width of the rest."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_PIPED_WIDTH = 110


@contextmanager
def byte_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A function that is told how many bytes are done and how many there are; it draws at most ten times a second."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def count_progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A function that is told how many more of `total` things are done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.advance(task, done)


class Output(Console):
    """Standard output. Whoever reads a pipe may stop: the command decides what that means, not rich."""

    def on_broken_pipe(self) -> None:
        """Called while the BrokenPipeError is being handled."""
        raise


def output_console() -> Output:
    """Standard output: as wide as the terminal or COLUMNS says, in a pipe wide enough for a table."""
    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Output(width=_PIPED_WIDTH if piped else None, highlight=False)
