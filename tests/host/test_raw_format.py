# SPDX-License-Identifier: LGPL-2.1-or-later
"""The C header and the Python schema must name the same operations by the same numbers."""

from __future__ import annotations

import re
from importlib.resources import files

from memtwin.trace.schema import Op


def raw_ops() -> dict[str, int]:
    """`enum raw_op` of raw_format.h, names without their prefix."""
    text = (files("memtwin.host") / "raw_format.h").read_text()
    body = text.split("enum raw_op {")[1].split("};")[0]
    return {name: int(number) for name, number in re.findall(r"RAW_(\w+) = (\d+),", body)}


def test_event_numbers_are_the_schemas() -> None:
    raw = raw_ops()
    decoder_made = {"LOST"}  # a gap in the numbers, not a record
    assert {op.name: op.value for op in Op if op.name not in decoder_made} == {
        name: number for name, number in raw.items() if number < raw["SKIP"]
    }


def test_op_numbers_fit_their_bits_and_are_distinct() -> None:
    raw = raw_ops()
    assert len(set(raw.values())) == len(raw)
    assert all(0 < number < 64 for number in raw.values())
