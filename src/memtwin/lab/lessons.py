# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lessons: one file a row of the chapter, in `lessons/ROW.toml`, in English and Korean.

A lesson has a script (memtwin.script) that plays on the twin and on the host, the machine it wants where the default
will not do, a text, a small task, and the kind of its quiz (lab.quiz).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from memtwin.errors import UserError

LANGUAGES = {"en": "English", "ko": "한국어"}


@dataclass(frozen=True)
class Words:
    """A lesson in one language."""

    title: str
    text: str
    task: str


@dataclass(frozen=True)
class Lesson:
    """One row of the chapter.

    id: "A1" … "F3"; script: what it plays; machine: settings of lab.scene.Scene; quiz: a kind of lab.quiz.KINDS;
    words: by language.
    """

    id: str
    script: str
    machine: dict[str, str]
    quiz: str
    words: dict[str, Words]


@cache
def lessons() -> dict[str, Lesson]:
    """All lessons by id, in the chapter's order."""
    found = [
        _read(entry.read_text("utf-8"))
        for entry in (files(__package__) / "lessons").iterdir()
        if entry.name.endswith(".toml")
    ]
    return {lesson.id: lesson for lesson in sorted(found, key=lambda lesson: lesson.id)}


def lesson(id: str) -> Lesson:
    """The lesson of a row. UserError lists the rows when there is none of that name."""
    known = lessons()
    if id.upper() not in known:
        raise UserError(f"there is no lesson {id!r}: the rows are {', '.join(known)}")
    return known[id.upper()]


def _read(text: str) -> Lesson:
    table = tomllib.loads(text)
    words = {language: Words(**table[language]) for language in LANGUAGES}
    return Lesson(table["id"], table["script"], table.get("machine", {}), table["quiz"], words)
