# SPDX-License-Identifier: LGPL-2.1-or-later
"""`memtwin trace`: what is in a trace."""

from __future__ import annotations

import json
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from memtwin.commands.progress import Output, byte_progress
from memtwin.oneline import one_line
from memtwin.trace.rawdir import unfinished_import
from memtwin.trace.reader import ProcessImage, Trace, open_trace
from memtwin.units import format_size

_PIPED_WIDTH = 200
_DETAILED = 3  # with up to so many images each is told in full


def command(
    directory: Annotated[Path, typer.Argument(help="A trace, as `memtwin record` leaves it.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Show what is in a trace: its processes, their events, how each recording ends. Finishes an import cut short."""
    finish_import(directory)
    trace = open_trace(directory)
    if as_json:
        print(json.dumps(to_json(trace), indent=1))
    else:
        print_trace(Output(width=None if sys.stdout.isatty() else _PIPED_WIDTH, highlight=False), trace)


def finish_import(directory: Path) -> None:
    """Import the raw files of a trace whose import was cut short; nothing when there are none."""
    with unfinished_import(directory) as raw:
        if raw is None:
            return
        with byte_progress("importing") as progress:
            done = raw.finish(progress)
    for problem in done.problems:
        print(f"memtwin: {one_line(problem)}", file=sys.stderr)


def to_json(trace: Trace) -> dict[str, Any]:
    """What --json prints."""
    return {
        "trace": str(trace.directory),
        "command": list(trace.command),
        "complete": trace.complete,
        "events": sum(image.events for image in trace.processes),
        "lost": sum(image.header.lost for image in trace.processes),
        "file_bytes": sum(_file_bytes(image) for image in trace.processes),
        "processes": [_image_json(image) for image in trace.processes],
    }


def _image_json(image: ProcessImage) -> dict[str, Any]:
    header = image.header
    return {
        "key": image.key,
        "pid": image.pid,
        "origin": image.origin,
        "parent": image.parent.key if image.parent else None,
        "parent_event": image.parent_event,
        "command": list(image.command),
        "executable": header.executable,
        "glibc": header.glibc,
        "allocator": header.allocator,
        "mode": header.mode,
        "address_randomization": header.randomized,
        "events": image.events,
        "operations": dict(header.operations),
        "lost": header.lost,
        "threads": header.threads,
        "allocated_bytes": header.allocated_bytes,
        "peak_rss_bytes": header.peak_rss_bytes,
        "duration_seconds": header.duration_ns / 1e9,
        "started": datetime.fromtimestamp(header.started_ns / 1e9, UTC).isoformat() if header.started_ns else None,
        "ending": header.ending,
        "environment": dict(header.environment),
        "notes": list(header.notes),
        "file_bytes": _file_bytes(image),
    }


def _file_bytes(image: ProcessImage) -> int:
    """Bytes of the image's three files."""
    return sum(entry.stat().st_size for entry in image.directory.glob(f"{image.key}.[bems]*.parquet"))


def print_trace(console: Console, trace: Trace) -> None:
    """For people: a line about the whole, a table of the images as a tree, and what must be known about them."""
    events = sum(image.events for image in trace.processes)
    console.print(Text(one_line(f"{trace.directory}: {events:,} events of {shlex.join(trace.command)}")), style="bold")
    if not trace.complete:
        console.print(Text("The import was interrupted: this is not all that was recorded."), style="yellow")
    console.print(_table(trace))
    if len(trace.processes) <= _DETAILED:
        for image in trace.processes:
            _print_details(console, image)
    for image in trace.processes:
        for note in image.header.notes:
            console.print(Text(f"{image.key}: {note}"), style="yellow")


def _table(trace: Trace) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("process", no_wrap=True)
    table.add_column("command", no_wrap=True, overflow="ellipsis", ratio=1)
    for name in ("events", "threads", "asked for", "peak RSS", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("ends by", no_wrap=True)
    for image in trace.processes:
        table.add_row(*_row(image))
    return table


def _row(image: ProcessImage) -> list[Text]:
    header = image.header
    depth, ancestor = 0, image.parent
    while ancestor:
        depth, ancestor = depth + 1, ancestor.parent
    ending = header.ending + (f", {header.lost:,} events lost" if header.lost else "")
    cells = [
        "  " * min(depth, 12) + image.key + ("" if image.origin == "start" else f" {image.origin}"),
        one_line(shlex.join(image.command)),
        f"{image.events:,}",
        f"{header.threads}",
        format_size(header.allocated_bytes),
        format_size(header.peak_rss_bytes) if header.peak_rss_bytes else "-",
        f"{header.duration_ns / 1e9:.2f}",
        ending,
    ]
    return [Text(cell) for cell in cells]


def _print_details(console: Console, image: ProcessImage) -> None:
    header = image.header
    counts = sorted(header.operations.items(), key=lambda item: -item[1])
    order = "exact order" if header.mode == "exact" else "approximate order of threads"
    addresses = "randomized addresses" if header.randomized else "addresses not randomized"
    settings = "".join(f", {name}={value}" for name, value in sorted(header.environment.items()))
    console.print()
    console.print(Text(f"{image.key}  {one_line(header.executable)}"), style="bold")
    console.print(Text(one_line(f"  glibc {header.glibc}, {order}, {addresses}{settings}")))
    console.print(Text("  " + ", ".join(f"{name.lower()} {count:,}" for name, count in counts)))
