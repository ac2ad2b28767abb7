# SPDX-License-Identifier: LGPL-2.1-or-later
"""A whole replay for a terminal: the biggest process in full, the others as a tree of one line each."""

from __future__ import annotations

import shlex

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from memtwin.errors import UserError
from memtwin.oneline import one_line
from memtwin.replay.replay import Replay
from memtwin.replay.result import ProcessResult
from memtwin.replay.view import comparison_view, process_view
from memtwin.trace.reader import Trace
from memtwin.units import format_size

MOST_ROWS = 15
_COMMAND_CELLS = 36


def replay_view(trace: Trace, real: Replay, what_if: Replay | None, pid: int | None = None) -> RenderableType:
    """The biggest process, or the one with `pid`, in full, and the tree if there are more. UserError: no such pid."""
    check_pid(trace, pid)
    if not real.processes:
        return Text("The trace has no process in it.")
    chosen = _chosen(real, pid)
    parts: list[RenderableType] = []
    if not trace.complete:
        parts.append(Text("The import was interrupted: this is not all that was recorded.", style="yellow"))
    other = what_if.process(chosen.key) if what_if else None
    if what_if and other:
        parts.append(comparison_view(chosen, other, what_if.options))
    else:
        parts.append(process_view(chosen))
    if len(real.processes) > 1:
        parts.append(Padding(tree_table(real, chosen, what_if), (1, 0, 0, 0)))
    return Group(*parts)


def check_pid(trace: Trace, pid: int | None) -> None:
    """UserError: `pid` is given, and no process of the trace."""
    known = sorted({image.pid for image in trace.processes})
    if pid is not None and pid not in known:
        raise UserError(f"--pid {pid}: no such process in the trace; it has {', '.join(map(str, known[:8]))}")


def _chosen(real: Replay, pid: int | None) -> ProcessResult:
    candidates = (one for one in real.processes if pid in (None, one.pid))
    return max(candidates, key=lambda one: one.peak_rss_bytes)


def tree_table(real: Replay, shown: ProcessResult, what_if: Replay | None = None) -> Table:
    """All processes as a tree, a line each, biggest families first; of many, the biggest."""
    rows = _in_order(real.processes)
    kept = {one.key for one in sorted(real.processes, key=lambda one: -one.peak_rss_bytes)[:MOST_ROWS]}
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("process", no_wrap=True)
    table.add_column("command", no_wrap=True, overflow="ellipsis", max_width=_COMMAND_CELLS)
    names = ["events", "peak", "end"] + (["what if: peak", "end"] if what_if else [])
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("agreement", no_wrap=True)
    for depth, one in rows:
        if one.key in kept:
            other = what_if.process(one.key) if what_if else None
            table.add_row(*_row(depth, one, other), style="bold" if one is shown else "")
    left = [one for _, one in rows if one.key not in kept]
    if left:
        inexact = sum(not one.exact for one in left)
        how = "all exact" if not inexact else f"{inexact} not exact"
        events = sum(one.events for one in left)
        table.add_row(
            "…", f"{len(left)} smaller ones, {how}: --pid PID or --json shows them", f"{events:,}", style="dim"
        )
    return table


def _in_order(processes: list[ProcessResult]) -> list[tuple[int, ProcessResult]]:
    """Each with its depth; parents before children, and among brothers the one with the biggest family member first."""
    children: dict[str | None, list[ProcessResult]] = {}
    for one in processes:
        children.setdefault(one.parent, []).append(one)
    biggest: dict[str, int] = {}
    for one in reversed(processes):
        below = max((biggest[child.key] for child in children.get(one.key, ())), default=0)
        biggest[one.key] = max(one.peak_rss_bytes, below)
    found: list[tuple[int, ProcessResult]] = []
    waiting = [(0, one) for one in sorted(children.get(None, ()), key=lambda one: biggest[one.key])]
    while waiting:
        depth, one = waiting.pop()
        found.append((depth, one))
        waiting += [(depth + 1, child) for child in sorted(children.get(one.key, ()), key=lambda one: biggest[one.key])]
    return found


def _row(depth: int, one: ProcessResult, other: ProcessResult | None) -> list[Text]:
    agreement = "-" if not one.compared else "exact" if one.exact else f"{one.agreement:.2%}"
    cells = [
        "  " * min(depth, 8) + one.key + ("" if one.origin == "start" else f" {one.origin}"),
        one_line(shlex.join(one.command)),
        f"{one.events:,}",
        format_size(one.peak_rss_bytes) if one.peak_rss_bytes else "-",
        format_size(one.final_rss_bytes) if one.final_rss_bytes else "-",
    ]
    if other:
        cells += [format_size(other.peak_rss_bytes), format_size(other.final_rss_bytes)]
    return [Text(cell) for cell in (*cells, agreement)]
