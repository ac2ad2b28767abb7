# SPDX-License-Identifier: LGPL-2.1-or-later
"""The `chapter` directive: the table of the chapter's rows, each with its test, example, picture and lesson.

The rows are read from docs/chapter.toml and held against what is there: a missing test, example, picture or lesson
fails the build, as it fails tests/test_chapter.py.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).resolve().parents[2]
ROWS = [f"{part}{n}" for part, last in zip("ABCDEF", (8, 9, 1, 6, 3, 3), strict=True) for n in range(1, last + 1)]


@dataclass(frozen=True)
class Row:
    """A row of the chapter. test: "tests/FILE.py::NAME"; example: a script; picture: "function" of memtwin.pictures."""

    id: str
    title: str
    test: str
    example: str
    picture: str
    page: str


def read_rows() -> list[Row]:
    """All rows, in the chapter's order."""
    with (ROOT / "docs" / "chapter.toml").open("rb") as file:
        table = tomllib.load(file)
    return [Row(id=name, **table[name]) for name in sorted(table)]


def missing(rows: list[Row]) -> list[str]:
    """What rows name and is not there, a sentence each."""
    from memtwin import pictures
    from memtwin.lab.lessons import lessons

    found = [f"{name}: the chapter has this row, docs/chapter.toml does not" for name in ROWS if name not in _ids(rows)]
    for row in rows:
        path, _, test = row.test.partition("::")
        file = ROOT / path
        if not file.is_file() or f"def {test.partition('[')[0]}(" not in file.read_text("utf-8"):
            found.append(f"{row.id}: no test {row.test}")
        if not (ROOT / row.example).is_file():
            found.append(f"{row.id}: no example {row.example}")
        if not callable(getattr(pictures, row.picture, None)):
            found.append(f"{row.id}: no picture memtwin.pictures.{row.picture}")
        if not (ROOT / "docs" / f"{row.page}.md").is_file():
            found.append(f"{row.id}: no page docs/{row.page}.md")
        if row.id not in lessons():
            found.append(f"{row.id}: no lesson")
    return found


def _ids(rows: list[Row]) -> set[str]:
    return {row.id for row in rows}


class Chapter(SphinxDirective):
    """See the module's text."""

    def run(self) -> list[nodes.Node]:
        """The table."""
        rows = read_rows()
        problems = missing(rows)
        if problems:
            raise self.error("; ".join(problems))
        lines = ["| row | what | page | test | example | picture | lesson |", "|---|---|---|---|---|---|---|"]
        lines += [
            f"| {row.id} | {row.title} | [{row.page.rpartition('/')[2]}](/{row.page}.md) | `{row.test}` "
            f"| `{row.example}` | `pictures.{row.picture}` | `memtwin lab --lesson {row.id}` |"
            for row in rows
        ]
        container = nodes.container()
        self.state.nested_parse(_strings(lines), 0, container)
        return container.children


def _strings(lines: list[str]) -> Any:
    from docutils.statemachine import StringList

    return StringList(lines, source="chapter.toml")


def setup(app: Any) -> dict[str, bool]:
    """Sphinx's entry."""
    app.add_directive("chapter", Chapter)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
