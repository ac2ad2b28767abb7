# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sentences in the reader's language: English stands where it is said, its translation in a table beside the room.

tell = Tell(KOREAN, language)
tell("{free} of {total} frames are free", free=3, total=64)
"""

from __future__ import annotations

from collections.abc import Mapping

from memtwin.errors import UserError

LANGUAGES = ("en", "ko")


def checked(language: str) -> str:
    """The language itself. UserError: none of LANGUAGES."""
    if language not in LANGUAGES:
        raise UserError(f"language {language!r:.20}: there are {' and '.join(LANGUAGES)}")
    return language


class Tell:
    """Says a sentence in a language. korean: each English sentence -> its translation, with the same fields in braces.

    UserError: a language that is none of LANGUAGES.
    """

    def __init__(self, korean: Mapping[str, str], language: str = "en") -> None:
        self.table = korean if checked(language) == "ko" else None

    def __call__(self, english: str, /, **fields: object) -> str:
        """The sentence with its fields filled in, as `str.format` does. KeyError: the table lacks it."""
        sentence = english if self.table is None else self.table[english]
        return sentence.format(**fields) if fields else sentence

    def known(self, text: str) -> str:
        """A text that may come from elsewhere: translated where the table has it, else as it is."""
        return text if self.table is None else self.table.get(text, text)
