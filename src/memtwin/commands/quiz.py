# SPDX-License-Identifier: LGPL-2.1-or-later
"""`memtwin quiz`: questions in the terminal, answered by the twin."""

from __future__ import annotations

import json
import secrets
from typing import Annotated

import typer

from memtwin.errors import UserError
from memtwin.lab.lessons import LANGUAGES
from memtwin.lab.quiz import KINDS, Question, question


def command(
    kind: Annotated[str, typer.Argument(help=f"What to ask about: {', '.join(KINDS)}.")],
    seed: Annotated[int | None, typer.Option(help="The same seed, the same questions; random when left out.")] = None,
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many questions.")] = 1,
    answers: Annotated[
        bool, typer.Option("--answers", help="Print the answers, and how the twin came to them.")
    ] = False,
    language: Annotated[str, typer.Option(help="en or ko.")] = "en",
    glibc: Annotated[str, typer.Option(help="A release such as 2.36; the newest that is known when left out.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Ask seeded questions about memory; the twin works out the answers, which are hidden until --answers."""
    if language not in LANGUAGES:
        raise UserError(f"language {language!r}: there are {' and '.join(LANGUAGES)}")
    first = secrets.randbelow(1_000_000) if seed is None else seed
    questions = [question(kind, first + i, glibc) for i in range(count)]
    if as_json:
        print(json.dumps({"questions": [_to_json(one, language, answers) for one in questions]}, ensure_ascii=False))
        return
    for one in questions:
        _print(one, language, answers)
    if not answers:
        more = f" --glibc {glibc}" if glibc else ""
        print(f"answers: memtwin quiz {kind} --seed {first} --count {count}{more} --answers")


def _to_json(one: Question, language: str, answers: bool) -> dict[str, object]:
    shown: dict[str, object] = {"kind": one.kind, "seed": one.seed, "given": one.given, "text": one.text[language]}
    return {**shown, "answer": one.answer, "steps": list(one.steps)} if answers else shown


def _print(one: Question, language: str, answers: bool) -> None:
    print(f"seed {one.seed}")
    print("\n".join(f"    {line}" for line in one.given.splitlines()))
    print(one.text[language])
    if answers:
        print(f"answer: {one.answer}")
        print("\n".join(f"    {line}" for line in one.steps))
    print()
