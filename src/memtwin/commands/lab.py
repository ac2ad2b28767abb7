# SPDX-License-Identifier: LGPL-2.1-or-later
"""`memtwin lab`: a web page to play in."""

from __future__ import annotations

import json
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from memtwin.commands.files import read_text
from memtwin.errors import UserError
from memtwin.lab.from_trace import script_of
from memtwin.lab.lessons import LANGUAGES
from memtwin.lab.lessons import lesson as lesson_of
from memtwin.script import MAX_SOURCE_BYTES


def command(
    lesson: Annotated[str, typer.Option(help="The lesson to begin with, A1 to F3.")] = "A1",
    language: Annotated[str, typer.Option(help="en or ko.")] = "en",
    script: Annotated[Path | None, typer.Option(help="Begin with the script in this file.")] = None,
    trace: Annotated[Path | None, typer.Option(help="Begin with the first calls of a recorded trace.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the address as a JSON object.")] = False,
) -> None:
    """Open the lab: step through calls and lessons in a web page, forward and back, and see what each does to memory.

    The page is reachable from this machine only, at an address with a random token. Ctrl-C ends it.
    """
    if language not in LANGUAGES:
        raise UserError(f"language {language!r}: there are {' and '.join(LANGUAGES)}")
    chosen = lesson_of(lesson)
    source = read_text(script, MAX_SOURCE_BYTES + 1) if script else script_of(trace) if trace else ""
    from memtwin.lab.server import serve  # what a wrong option need not wait for

    def ready(address: str) -> None:
        print(json.dumps({"address": address}) if as_json else f"memtwin lab: {address}\nCtrl-C ends it.", flush=True)
        if browser:
            webbrowser.open(address)

    serve(port, chosen.id, language, source, ready)
