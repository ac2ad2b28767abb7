# SPDX-License-Identifier: LGPL-2.1-or-later
"""Numbers that stand in two languages are equal in both; the C compiler says what raw_format.h means."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

from memtwin.errors import TraceError
from memtwin.trace import raw, schema
from memtwin.trace.schema import Op

HEADER = Path(str(files("memtwin") / "host" / "raw_format.h"))
NUMBERS = re.compile(r"^\s*(RAW_\w+) = \d+,", re.MULTILINE)


def evaluate(tmp_path: Path, expressions: dict[str, str]) -> dict[str, int]:
    """The values of C expressions, by the C compiler."""
    compiler = shutil.which("cc")
    assert compiler, "no C compiler: apt install gcc"
    lines = "".join(f'printf("{name} %llu\\n", (unsigned long long)({text}));' for name, text in expressions.items())
    source = tmp_path / "x.c"
    source.write_text(f'#include <stddef.h>\n#include <stdio.h>\n#include "{HEADER}"\nint main(void) {{{lines}}}')
    subprocess.run([compiler, str(source), "-o", str(tmp_path / "x")], check=True)
    answer = subprocess.run([str(tmp_path / "x")], check=True, capture_output=True, text=True).stdout
    return {name: int(value) for name, value in (line.split() for line in answer.splitlines())}


@pytest.fixture
def c_numbers(tmp_path: Path) -> dict[str, int]:
    names = NUMBERS.findall(HEADER.read_text())
    assert len(names) > 40
    return evaluate(tmp_path, {name: name for name in names})


def test_operations_have_the_numbers_of_the_recorder(c_numbers: dict[str, int]) -> None:
    ours = {name: int(op) for name, op in Op.__members__.items()}
    theirs = {name.removeprefix("RAW_"): number for name, number in c_numbers.items()}
    assert {name: theirs[name] for name in ours if name != "LOST"} == {n: o for n, o in ours.items() if n != "LOST"}
    assert Op.LOST not in [number for name, number in theirs.items() if name in NAMES_OF_RECORDS]


NAMES_OF_RECORDS = {*Op.__members__, "SKIP", "ERROR", "LOW_BITS", "TEXT", "OUTCOME", "SAMPLE", "NOTE", "REALLOC_NULL"}


@pytest.mark.parametrize("room", ["stream", "decode"])
def test_the_decoder_has_the_same_numbers_compiled_and_not(room: str, c_numbers: dict[str, int]) -> None:
    text = (Path(schema.__file__).parent / f"{room}.pxd").read_text()
    compiled = {name: int(number, 0) for name, number in re.findall(r"^    (\w+) = (\w+)$", text, re.MULTILINE)}
    assert len(compiled) > 8
    known = {name: c_numbers[f"RAW_{name}"] for name in compiled if f"RAW_{name}" in c_numbers}
    assert len(known) >= len(compiled) - 3
    assert {name: compiled[name] for name in known} == known


def test_the_raw_header_is_read_where_it_was_written(tmp_path: Path) -> None:
    c = evaluate(tmp_path, {name: f"offsetof(struct raw_header, {name})" for name in raw.RawHeader._fields})
    sizes = {"Q": 8, "I": 4}
    offset = 0
    for name, kind in zip(raw.RawHeader._fields, re.findall("[QI]", re.sub(r"^<", "", raw.HEADER.format)), strict=True):
        assert c[name] == offset, name
        offset += sizes[kind]


def test_constants_of_the_raw_format(tmp_path: Path) -> None:
    ours = {"RAW_MAGIC": raw.MAGIC, "RAW_VERSION": raw.VERSION, "RAW_GRAIN": raw.GRAIN,
            "RAW_CHUNK_MAGIC": raw.CHUNK_MAGIC, "RAW_TEXT_AT": raw.TEXT_AT}  # fmt: skip
    assert evaluate(tmp_path, {name: name for name in ours}) == ours


@pytest.mark.parametrize("key", ["", "0", "../7", "7/8", "7.", "7.0", ".7", "7.1.1", "7\n", "٧", "7" * 20])
def test_a_key_leads_nowhere_else(key: str) -> None:
    with pytest.raises(TraceError):
        schema.check_key(key, "here")
