# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lessons are whole: every row, both languages, scripts that are scripts."""

from __future__ import annotations

import pytest

from memtwin import script
from memtwin.errors import UserError
from memtwin.lab.lessons import LANGUAGES, lesson, lessons

ROWS = [f"{part}{row}" for part, rows in zip("ABCDEF", (8, 9, 1, 6, 3, 3), strict=True) for row in range(1, rows + 1)]


def test_every_row_of_the_chapter_has_a_lesson() -> None:
    assert list(lessons()) == ROWS


@pytest.mark.parametrize("row", ROWS)
def test_a_lesson_has_all_its_words_and_a_script(row: str) -> None:
    found = lesson(row.lower())
    assert set(found.words) == set(LANGUAGES)
    for words in found.words.values():
        assert words.title and words.text and words.task
    assert any("가" <= letter <= "힣" for letter in found.words["ko"].text)
    assert script.parse(found.script).body


def test_an_unknown_lesson_is_named() -> None:
    with pytest.raises(UserError, match="'Z9'"):
        lesson("Z9")
