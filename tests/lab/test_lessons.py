# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lessons are whole: every row, both languages, scripts that are scripts."""

from __future__ import annotations

import pytest

from memtwin import script
from memtwin.errors import UserError
from memtwin.lab.lessons import LANGUAGES, lesson, lessons
from memtwin.lab.playback import Playback

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


@pytest.mark.parametrize(
    ("library", "environment", "ends", "prints"),
    [
        ("classic", "MALLOC_CHECK_ = 0", False, False),
        ("classic", "MALLOC_CHECK_ = 1", False, True),
        ("classic", "MALLOC_CHECK_ = 2", True, False),
        ("classic", "MALLOC_CHECK_ = 3", True, True),
        ("2.33", "MALLOC_CHECK_ = 1", True, False),
        ("2.36", "MALLOC_CHECK_ = 3", False, False),
        ("2.36", 'LD_PRELOAD = "libc_malloc_debug.so.0"; MALLOC_CHECK_ = 3', True, False),
    ],
)
def test_the_task_of_malloc_check_can_be_done(library: str, environment: str, ends: bool, prints: bool) -> None:
    """By name: what the process ends with at free(p), and what is told of it."""
    with Playback() as playback:
        playback.load(f"{environment}\n{lesson('F1').script}", {"glibc": library})
        seen = [playback.step(4, language) for language in LANGUAGES]
    for shown in seen:
        assert shown["call"].startswith("free(")
        assert (shown["error"] is not None) == ends
        assert any("*** Error in" in sentence for sentence in shown["sentences"]) == prints


def test_the_lesson_of_malloc_check_begins_with_the_classic_one() -> None:
    assert lesson("F1").machine == {"glibc": "classic"}


def test_an_unknown_library_is_told() -> None:
    with Playback() as playback, pytest.raises(UserError, match=r"'1.0'.*2.43.*classic"):
        playback.load("p = malloc(1)", {"glibc": "1.0"})
