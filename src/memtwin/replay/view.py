# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a replay found of one process, for a terminal: rich renderables. Where output is piped, plain text is left.

The order is that of a tired reader: what it is, the sentence that matters, the ledger as a bar and as figures, how it
came about, why it stays and what may be tried, how far it can be trusted.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from memtwin.oneline import one_line
from memtwin.replay.result import FREE_LINES, LINES, MALLOC_LINES, Ledger, ProcessResult
from memtwin.replay.twin import Options
from memtwin.replay.words import agreement_sentence, compare_sentence, headline, plural, what_to_do
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
# The bar shows what belongs together as one piece.
PIECES = {
    "live": ("live", "mapped"),
    "overhead": ("overhead", "page_rounding"),
    "free": FREE_LINES,
    "program, files, stacks": ("text", "files", "stacks", "other"),
    "unexplained": ("unexplained",),
}
MOST_NOTES = 6


class LedgerBar:
    """All of RSS as one bar as wide as the console; pieces too small to be named are left blank."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """A line of colored cells."""
        values = {name: sum(max(self.ledger.lines[line], 0) for line in lines) for name, lines in PIECES.items()}
        total = sum(values.values()) or 1
        bar = Text(no_wrap=True, overflow="crop")
        for name, value in values.items():
            width = round(value * (options.max_width - 1) / total)
            label = f" {name} {format_size(value)}"
            short = f" {name.split(',')[0]}"
            text = label if len(label) < width else short if len(short) < width else ""
            bar.append(text.ljust(width), style=f"black on {COLORS.get(name, 'blue')}")
        yield bar


def ledger_table(columns: Sequence[tuple[str, Ledger]]) -> Table:
    """Ledgers side by side, a row a line; lines that are 0 in all of them are left out."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    for name, _ in columns:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    ledgers = [ledger for _, ledger in columns]
    for line, meaning in LINES.items():
        values = [ledger.lines.get(line, 0) for ledger in ledgers]
        if any(values):
            label = Text(line.replace("_", " "), style=COLORS[line])
            table.add_row(label, *map(format_size, values), Text(meaning, style="dim"))
    sums = [format_size(ledger.rss_bytes) for ledger in ledgers]
    table.add_row("resident", *sums, Text("the sum", style="not bold dim"), style="bold")
    beside = [ledger.free_not_resident_bytes for ledger in ledgers]
    if any(beside):
        table.add_row(
            "", *map(format_size, beside), Text("free and not in RAM: costs nothing", style="dim"), style="dim"
        )
    return table


def sparkline(values: Sequence[int], highest: int) -> str:
    """One character a value; 0 is a blank, anything else shows."""
    top = len(BLOCKS) - 1
    return "".join(BLOCKS[min(top, max(1, round(value * top / highest)))] if value else " " for value in values)


def resample(points: Sequence[dict[str, Any]], events: int, name: str, cells: int) -> list[int]:
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


class TimeLines:
    """RSS over the events, a row a replay, all to one scale, and what the program had asked for and not freed."""

    def __init__(self, rows: Sequence[tuple[str, ProcessResult]]) -> None:
        self.rows = rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Rows as wide as the console, with the highest value behind each."""
        label = max(len(name) for name, _ in self.rows) + 4
        cells = max(options.max_width - label - 16, 10)
        highest = max((result.peak_rss_bytes for _, result in self.rows), default=0) or 1
        lines = [(f"RSS {name}".strip(), result, "rss_bytes", "red") for name, result in self.rows]
        lines.append(("live", self.rows[0][1], "live_bytes", "green"))
        for label_text, result, value, style in lines:
            values = resample(result.time_line, result.events, value, cells)
            line = Text(label_text.ljust(label), no_wrap=True, overflow="crop")
            line.append(" " + sparkline(values, highest), style=style)
            yield line.append(f" {format_size(max(values))} max", style="dim")


def process_view(result: ProcessResult) -> RenderableType:
    """One process: what it was, where its memory is, how it came there, what may be tried."""
    parts: list[RenderableType] = [title(result)]
    if result.peak and result.final:
        parts.append(Padding(Text(headline(result.final, "at the end"), style="bold"), (1, 0)))
        parts.append(LedgerBar(result.final))
        parts.append(Padding(ledger_table([("peak", result.peak), ("end", result.final)]), (1, 0)))
    if result.time_line:
        parts.append(TimeLines([("", result)]))
    parts += _sentences(what_to_do(result))
    parts += _remarks(result)
    return Group(*parts)


def comparison_view(real: ProcessResult, what_if: ProcessResult, options: Options) -> RenderableType:
    """One process as it was beside what it would have been."""
    parts: list[RenderableType] = [title(real)]
    if real.peak and real.final and what_if.peak and what_if.final:
        parts.append(Padding(Text(compare_sentence(real, what_if, options), style="bold"), (1, 0)))
        columns = [
            ("peak", real.peak),
            ("what if", what_if.peak),
            ("end", real.final),
            ("what if", what_if.final),
        ]
        parts.append(Padding(ledger_table(columns), (0, 0, 1, 0)))
    parts.append(TimeLines([("as it was", real), ("what if", what_if)]))
    parts += _remarks(real)
    parts += [Text(f"What if: {note}", style="yellow") for note in what_if.notes if note not in real.notes]
    return Group(*parts)


def title(result: ProcessResult) -> Text:
    """The command and what the replay was made of."""
    command = one_line(shlex.join(result.command)) or "?"
    text = Text(command if len(command) <= 70 else command[:69] + "…", style="bold")
    speed = result.events / result.seconds / 1e6 if result.seconds else 0.0
    facts = f"process {result.pid}, glibc {result.glibc}, {plural(result.events, 'event')} in {result.seconds:.2f} s"
    return text.append(f"\n{facts} ({speed:.1f} million a second)", style="dim not bold")


def _sentences(sentences: Iterable[str]) -> list[RenderableType]:
    return [Padding(Text(sentence), (1 if i == 0 else 0, 0, 0, 0)) for i, sentence in enumerate(sentences)]


def _remarks(result: ProcessResult) -> list[RenderableType]:
    style = "dim" if result.exact or not result.compared else "yellow"
    parts: list[RenderableType] = [Padding(Text(agreement_sentence(result), style=style), (1, 0, 0, 0))]
    parts += [Text(one_line(note), style="yellow") for note in result.notes[:MOST_NOTES]]
    return parts


assert set(MALLOC_LINES) <= set(LINES) == set(COLORS)
