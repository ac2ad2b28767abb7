# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every example of the guide is executed: Python blocks, pictures, and shell sessions.

A `console` block is a session: a line that begins with "$ " is a command, the lines below it what it prints. "…" stands
for anything, also for many lines. A command without lines below it may print what it likes. Every command ends with
status 0, or with the one in a comment at its end: `$ memtwin trace nowhere  # status 2`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sybil import Document, Example, Region, Sybil
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser

_STATUS = re.compile(r"\s+# status (\d+)$")
_SECONDS = 120
ROOT = Path(__file__).resolve().parents[1]


class ConsoleBlocks(CodeBlockParser):
    """Plays ```console blocks."""

    language = "console"

    def evaluate(self, example: Example) -> str | None:
        """The first difference in words, or None."""
        for command, expected in sessions(example.parsed):
            problem = play(command, expected, example.namespace["folder"])
            if problem:
                return problem
        return None


class PictureBlocks(CodeBlockParser):
    """Draws ```{picture} blocks."""

    language = "{picture}"

    def __call__(self, document: Document) -> Iterator[Region]:
        for match in re.finditer(r"^```\{picture\}\n((?::.*\n)*)(.*?)^```", document.text, re.MULTILINE | re.DOTALL):
            yield Region(match.start(), match.end(), match.group(2), self.evaluate)

    def evaluate(self, example: Example) -> str | None:
        """Draw it, in both languages of the guide."""
        sys.path.insert(0, str(ROOT / "docs" / "extensions"))
        try:
            from picture import draw
        finally:
            sys.path.pop(0)
        draw(example.parsed)
        korean = draw(example.parsed, "ko")
        return (
            None if re.search("[가-힣]", korean.partition("</style>")[2]) else "the Korean picture has no Korean on it"
        )


def sessions(text: str) -> Iterator[tuple[str, list[str]]]:
    """Commands with the lines that they print."""
    command, lines = "", []
    for line in text.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, lines
            command, lines = line[2:], []
        elif command.endswith("\\"):
            command = command[:-1] + line.strip()
        else:
            lines.append(line)
    if command:
        yield command, lines


def play(command: str, expected: list[str], folder: Path) -> str | None:
    """Run one command in `folder`; what is wrong, or None."""
    match = _STATUS.search(command)
    status = int(match.group(1)) if match else 0
    bare = command[: match.start()] if match else command
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    environment = {"PATH": path, "HOME": str(folder), "COLUMNS": "100", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ["/bin/sh", "-c", bare], cwd=folder, env=environment, capture_output=True, text=True, timeout=_SECONDS,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    printed = done.stdout + done.stderr
    if done.returncode != status:
        return f"$ {bare}\nstatus {done.returncode}, not {status}:\n{printed[-2000:]}"
    if expected and not matches(expected, printed.splitlines()):
        return f"$ {bare}\nprinted\n{printed}\nand not\n" + "\n".join(expected)
    return None


def matches(expected: list[str], printed: list[str]) -> bool:
    """Whether what was printed is what the guide shows; how lines are wrapped and aligned does not count."""
    pattern = re.escape(" ".join(" ".join(expected).split())).replace("…", ".*?")
    return re.fullmatch(pattern, " ".join(" ".join(printed).split())) is not None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where a page's examples run, with the shipped examples in it."""
    found = tmp_path_factory.mktemp("guide")
    (found / "examples").symlink_to(ROOT / "examples")
    before = os.getcwd()
    os.chdir(found)
    yield found
    os.chdir(before)


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), ConsoleBlocks(), PictureBlocks()],
    path=str(ROOT / "docs"),
    pattern="**/*.md",
    fixtures=["folder"],
).pytest()
