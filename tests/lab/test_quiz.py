# SPDX-License-Identifier: LGPL-2.1-or-later
"""Quiz questions: the same from the same seed, and their answers are what the host does too, where it can be asked."""

from __future__ import annotations

import secrets

import pytest

from memtwin import script
from memtwin.errors import UserError
from memtwin.host.libcs import host_release
from memtwin.host.process import Process as HostProcess
from memtwin.lab.lessons import LANGUAGES, lessons
from memtwin.lab.quiz import KINDS, question


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_seed_makes_one_question(kind: str) -> None:
    seed = secrets.randbelow(1_000_000)
    print(f"seed {seed}")
    assert question(kind, seed) == question(kind, seed)
    assert len({question(kind, seed + i).given for i in range(12)}) > 1
    one = question(kind, seed)
    assert one.answer and one.steps and set(one.text) == set(LANGUAGES)


def test_every_lesson_has_a_quiz() -> None:
    assert {lesson.quiz for lesson in lessons().values()} <= set(KINDS)


@pytest.mark.parametrize("kind", ["address", "usable", "fault-code", "fault-count"])
def test_the_host_gives_the_same_answer(kind: str) -> None:
    seed = secrets.randbelow(1_000_000)
    print(f"seed {seed}")
    for number in range(seed, seed + 5):
        one = question(kind, number, host_release())
        with HostProcess() as process:
            steps, minor = [], 0
            for step in script.parse(one.given).run(process):
                steps.append(step)
                minor += process.minflt
        answers = {
            "address": lambda steps=steps: steps[-1].result - steps[0].result,
            "usable": lambda steps=steps: steps[-1].result,
            "fault-code": lambda steps=steps: getattr(steps[-1].error, "code", 0),
            "fault-count": lambda minor=minor: minor,
        }
        assert one.answer == str(answers[kind]()), one


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(UserError, match="'colours'"):
        question("colours", 1)
