# SPDX-License-Identifier: LGPL-2.1-or-later
"""Header facts survive the trip through JSON; wrong ones are named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memtwin.errors import TraceError
from memtwin.trace.header import ADDR_NO_RANDOMIZE, Header, parse_header

TEXT = st.text(max_size=20)
COUNT = st.integers(0, 2**64 - 1)


@given(
    st.builds(
        Header,
        key=TEXT, pid=COUNT, parent_pid=COUNT, parent=st.none() | TEXT, command=st.lists(TEXT).map(tuple),
        environment=st.dictionaries(TEXT, TEXT), start_brk=COUNT, notes=st.lists(TEXT).map(tuple), lost=COUNT,
        operations=st.dictionaries(st.sampled_from(["MALLOC", "FREE", "LOST"]), COUNT),
    )
)  # fmt: skip
def test_what_is_written_is_read(header: Header) -> None:
    assert parse_header(header.to_json().encode(), "here") == header


@pytest.mark.parametrize(
    "change",
    [
        {"version": 99}, {"version": None}, {"pid": "7"}, {"pid": -1}, {"pid": 2**64}, {"pid": True}, {"pid": 1.0},
        {"key": 7}, {"command": "ls"}, {"command": [1]}, {"environment": {"A": 1}}, {"environment": []},
        {"operations": {"MALLOC": -1}}, {"operations": {"NOTHING": 1}}, {"parent": 1}, {"origin": "egg"},
        {"page_size": 0}, {"page_size": 4097}, {"huge_pages": "often"},
        {"free_huge_pages": {"2 MiB": 1}}, {"free_huge_pages": {"2097152": -1}},
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_value_is_named(change: dict[str, Any]) -> None:
    value = json.loads(Header("7", 7, 1).to_json()) | change
    with pytest.raises(TraceError, match=r"^here: ") as stop:
        parse_header(json.dumps(value).encode(), "here")
    (name,) = change
    assert name in str(stop.value) or name == "version"


@pytest.mark.parametrize("name", ["key", "pid", "parent_pid"])
def test_a_missing_field_is_named(name: str) -> None:
    value = json.loads(Header("7", 7, 1).to_json())
    del value[name]
    with pytest.raises(TraceError, match=f"'{name}' is missing"):
        parse_header(json.dumps(value).encode(), "here")


def test_fields_of_a_later_release_are_skipped() -> None:
    value = json.loads(Header("7", 7, 1).to_json()) | {"colour": "blue"}
    assert parse_header(json.dumps(value).encode(), "here") == Header("7", 7, 1)


def test_exactness_and_randomization() -> None:
    assert Header("7", 7, 1).exact
    assert not Header("7", 7, 1, lost=1).exact
    assert not Header("7", 7, 1, mode="fast").exact
    assert Header("7", 7, 1).randomized
    assert not Header("7", 7, 1, personality=ADDR_NO_RANDOMIZE).randomized
