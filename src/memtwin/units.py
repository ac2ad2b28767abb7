# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sizes in and out of text. All sizes inside memtwin are `int` bytes; text is only for people."""

from __future__ import annotations

import re

from memtwin.errors import UserError

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40

_FACTORS = {"": 1, "b": 1, "k": KIB, "m": MIB, "g": GIB, "t": TIB}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?|0x[0-9a-f]+)\s*([kmgt]?)(?:i?b)?\s*", re.IGNORECASE)
_LONGEST = 40  # characters of a size


def parse_size(text: str | int) -> int:
    """Bytes meant by `text`: "4096", "64 KiB", "64K", "1.5 GiB", "0x1000"; factors are powers of 1024.

    UserError names the text when it is no size or not a whole number of bytes.
    """
    if isinstance(text, int):
        return text
    if not isinstance(text, str):
        raise UserError(f"{text!r} is no size: give bytes as an integer, or text such as '64 MiB'")
    match = _SIZE.fullmatch(text)
    if not match or len(text) > _LONGEST:
        raise UserError(f"{text[:_LONGEST]!r} is no size: write bytes or a number with KiB, MiB or GiB, such as 64KiB")
    number, suffix = match.groups()
    size = int(number, 16) if number[:2].lower() == "0x" else float(number) if "." in number else int(number)
    size *= _FACTORS[suffix.lower()]
    if size != int(size):
        raise UserError(f"{text!r} is not a whole number of bytes")
    return int(size)


def format_size(size: int) -> str:
    """`size` bytes for a person: "0 B", "512 B", "12.0 KiB", "412 MiB"; three digits that matter."""
    if abs(size) < KIB:
        return f"{size} B"
    amount, unit = size / KIB, 0
    while abs(amount) >= 999.5 and unit < 3:
        amount, unit = amount / 1024, unit + 1
    digits = 2 if abs(amount) < 9.995 else 1 if abs(amount) < 99.95 else 0
    return f"{amount:.{digits}f} {('KiB', 'MiB', 'GiB', 'TiB')[unit]}"
