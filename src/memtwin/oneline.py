# SPDX-License-Identifier: LGPL-2.1-or-later
"""Text from outside (names, arguments, traces) as one line that a terminal only shows."""

from __future__ import annotations


def one_line(text: str) -> str:
    r"""The text on one line: line breaks, escape sequences and whatever else is not printable as \n, \x1b."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
