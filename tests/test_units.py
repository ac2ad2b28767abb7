# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sizes in and out of text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memtwin.errors import UserError
from memtwin.units import format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("64K", 65536),
        ("64 KiB", 65536),
        ("1.5 GiB", 3 << 29),
        ("0x1000", 4096),
        ("2m", 2 << 20),
    ],
)
def test_sizes_people_write(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "12 apples", "-1", "1e9", "0.3", "64 KK"])
def test_what_is_no_size_is_named(text: str) -> None:
    with pytest.raises(UserError, match="byte"):
        parse_size(text)


@given(st.integers(0, 1 << 60))
def test_what_is_shown_reads_back_within_its_three_digits(size: int) -> None:
    assert abs(parse_size_loosely(format_size(size)) - size) <= size * 0.005 + 0.5


def parse_size_loosely(text: str) -> float:
    number, unit = text.split()
    return float(number) * {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}[unit]
