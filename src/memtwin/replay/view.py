# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a replay found, for a terminal: rich renderables. Where output is piped, rich leaves plain text of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from memtwin.replay.result import FREE_LINES, LINES, MALLOC_LINES, Ledger, ProcessResult
from memtwin.replay.words import agreement_sentence, compare_sentence, explain
from memtwin.units import format_size

BLOCKS = " ▁▂▃▄▅▆▇█"
COLORS = {
    "live": "green",
    "mapped": "bright_green",
    "overhead": "yellow",
    "page_rounding": "yellow",
    "text": "blue",
    "files": "bright_blue",
    "stacks": "magenta",
    "other": "cyan",
    "unexplained": "white",
    **dict.fromkeys(FREE_LINES, "red"),
}
BAR_CELLS = 40
CHART_CELLS = 60


def ledger_bar(ledger: Ledger, cells: int = 72) -> Text:
    """All of RSS as one bar, a color and a letter a line; lines smaller than half a cell are left out."""
    bar = Text()
    total = sum(max(value, 0) for value in ledger.lines.values()) or 1
    for line, value in ledger.lines.items():
        width = round(max(value, 0) * cells / total)
        if width:
            bar.append(line[: width - 1].ljust(width), style=f"black on {COLORS[line]}")
    return bar


def ledger_table(ledgers: Sequence[tuple[str, Ledger]]) -> Table:
    """Ledgers side by side, a row a line; lines that are 0 in all of them are left out."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    for name, _ in ledgers:
        table.add_column(name, justify="right")
    table.add_column("")
    for line, meaning in LINES.items():
        values = [ledger.lines.get(line, 0) for _, ledger in ledgers]
        if any(values):
            name = Text(line.replace("_", " "), style=COLORS[line])
            table.add_row(name, *map(format_size, values), Text(meaning, style="dim"))
    table.add_row("resident", *(format_size(ledger.rss_bytes) for _, ledger in ledgers), style="bold")
    beside = [ledger.free_not_resident_bytes for _, ledger in ledgers]
    if any(beside):
        table.add_row("", *map(format_size, beside), Text("free and not resident, costs no RAM", style="dim"))
    return table


def sparkline(values: Sequence[int], highest: int) -> str:
    """One character a value; 0 is a blank, anything else shows."""
    top = len(BLOCKS) - 1
    return "".join(BLOCKS[min(top, max(1, round(value * top / highest)))] if value else " " for value in values)


def resample(points: Sequence[dict[str, Any]], events: int, name: str, cells: int = CHART_CELLS) -> list[int]:
    """The highest value in each of `cells` equal parts of the events; a part without points has the last one's."""
    values = [0] * cells
    seen = [False] * cells
    last = [0] * cells
    for point in points:
        cell = min(cells - 1, point["event"] * cells // max(events, 1))
        values[cell] = max(values[cell], point[name])
        seen[cell] = True
        last[cell] = point["last_rss_bytes"] if name == "rss_bytes" else point[name]
    for cell in range(1, cells):
        if not seen[cell]:
            values[cell] = last[cell] = last[cell - 1]
    return values


def time_lines(results: Sequence[tuple[str, ProcessResult]]) -> Table:
    """RSS over the events, a row a replay, all to one scale; and what is live."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    highest = max((result.peak_rss_bytes for _, result in results), default=0) or 1
    for name, result in results:
        rss = resample(result.time_line, result.events, "rss_bytes")
        table.add_row(f"RSS {name}".strip(), Text(sparkline(rss, highest), style="red"), format_size(max(rss)))
    name, result = results[0]
    live = resample(result.time_line, result.events, "live_bytes")
    table.add_row("live", Text(sparkline(live, highest), style="green"), format_size(max(live)))
    return table


def process_view(result: ProcessResult) -> RenderableType:
    """One process: what it was, its ledger at peak and end, its time line, a paragraph in words."""
    parts: list[RenderableType] = [_title(result)]
    if result.peak and result.final:
        parts += [
            Padding(ledger_bar(result.final), (1, 0, 0, 0)),
            Padding(ledger_table([("peak", result.peak), ("end", result.final)]), (1, 0)),
        ]
    if result.time_line:
        parts.append(time_lines([("", result)]))
    parts.append(Padding(Text(explain(result)), (1, 0, 0, 0)))
    parts += _remarks(result)
    return Group(*parts)


def comparison_view(real: ProcessResult, what_if: ProcessResult, settings: dict[str, int]) -> RenderableType:
    """One process as it was beside what it would have been."""
    parts: list[RenderableType] = [_title(real)]
    if real.peak and real.final and what_if.peak and what_if.final:
        columns = [
            ("peak", real.peak),
            ("peak, what if", what_if.peak),
            ("end", real.final),
            ("end, what if", what_if.final),
        ]
        parts.append(Padding(ledger_table(columns), (1, 0)))
    parts.append(time_lines([("as it was", real), ("what if", what_if)]))
    parts.append(Padding(Text(compare_sentence(real, what_if, settings)), (1, 0, 0, 0)))
    parts += _remarks(real)
    return Group(*parts)


def show(console: Console, view: RenderableType) -> None:
    """Print, with an empty line after it."""
    console.print(view)
    console.print()


def _title(result: ProcessResult) -> Text:
    command = " ".join(result.command)
    title = Text(command if len(command) <= 60 else command[:59] + "…", style="bold")
    speed = result.events / result.seconds / 1e6 if result.seconds else 0.0
    facts = f"process {result.pid}, glibc {result.glibc}, {result.events:,} events replayed in {result.seconds:.2f} s"
    return title.append(f"   {facts} ({speed:.1f} M/s)", style="dim not bold")


def _remarks(result: ProcessResult) -> list[RenderableType]:
    style = "dim" if result.exact or not result.compared else "yellow"
    return [Text(agreement_sentence(result), style=style), *(Text(note, style="yellow") for note in result.notes)]


assert set(MALLOC_LINES) | set(COLORS) == set(LINES)
