# SPDX-License-Identifier: LGPL-2.1-or-later
"""memtwin verify SCRIPT.py: a script on the twin and on this machine, line by line. `commands.verify` calls it."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from rich.table import Table
from rich.text import Text

from memtwin.commands.files import read_text
from memtwin.commands.progress import Output
from memtwin.verify.script import LEFT_OUT, Report, verify_script

_WIDTH = 120  # of a table that goes to no terminal


def play(path: Path, as_json: bool) -> int:
    """Play the script of a file on both sides and print what each answered; 1 when they differ, else 0.

    UserError: no such file, no script, or a C library that is not modelled.
    """
    report = verify_script(read_text(path))
    if as_json:
        print(json.dumps({**asdict(report), "differences": report.differences}))
    else:
        _print(report)
    return 1 if report.differences else 0


def _print(report: Report) -> None:
    console = Output(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDTH)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name, justify in (("line", "right"), ("call", "left"), ("twin", "left"), ("host", "left")):
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for line in report.lines:
        host = Text("the same", style="green") if not line.differs else Text(line.host, style="bold red")
        if line.differs:
            host.append(f"  ({', '.join(line.differs)})", style="red")
        table.add_row(str(line.line), Text(line.call), Text(line.twin), host)
    console.print(table)
    for difference in report.maps_differ:
        console.print(Text(f"maps, {difference}", style="bold red"))
    calls = f"{len(report.lines)} call{'' if len(report.lines) == 1 else 's'}"
    outcome = "no difference" if not report.differences else f"{report.differences} differ"
    console.print(
        f"{calls} and the maps at the end: {outcome}. Never compared: {'; '.join(LEFT_OUT)}.", highlight=False
    )
