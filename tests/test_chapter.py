# SPDX-License-Identifier: LGPL-2.1-or-later
"""The chapter, row by row: each row's example runs and shows what the row says. docs/chapter.toml names these tests."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples" / "chapter"
Show = Callable[[str], str]


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Show:
    """Run a row's example: what it prints."""

    def run(row: str) -> str:
        runpy.run_path(str(EXAMPLES / f"{row}.py"), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_a1_address_spaces(show: Show) -> None:
    assert "b'parent' in one process, b'child!' in the other" in show("A1")


def test_a2_pages(show: Show) -> None:
    assert "pages of 4096: 100,000 bytes are 25 pages; 4 GiB are 1,048,576" in show("A2")


def test_a3_invalid_pages(show: Show) -> None:
    text = show("A3")
    assert "no mapping: si_code 1" in text and "read-only: si_code 2" in text


def test_a4_paging(show: Show) -> None:
    text = show("A4")
    swapped = int(re.findall(r"(\d+) pages are in swap", text)[0])
    assert swapped > 1000
    assert r"still holds b'\x00\x00\x00\x00', after 1 major fault" in text


def test_a5_shared_pages(show: Show) -> None:
    one, other = re.findall(r"frames \[(\d+), (\d+)\]", show("A5"))[0]
    assert one == other


def test_a6_copy_on_write(show: Show) -> None:
    text = show("A6")
    assert "child's write: 1 minor fault" in text
    assert "pages still shared: [False, True, True, True]" in text
    assert "parent's write: 1 minor fault, same frame: True" in text


def test_a7_regions(show: Show) -> None:
    text = show("A7")
    for kind, permissions in (("text", "r-xp"), ("rodata", "r--p"), ("heap", "rw-p"), ("stack", "rw-p")):
        assert re.search(rf"{re.escape(permissions)} {kind} ", text), kind


def test_a8_bss(show: Show) -> None:
    text = show("A8")
    assert "1 minor fault, 0 bytes more resident" in text and "1 minor fault, 4096 bytes more resident" in text


def test_b1_malloc(show: Show) -> None:
    text = show("B1")
    assert "same address: True; stale bytes: b'ytes, left behind'" in text and ": 0, errno 12" in text


def test_b2_xmalloc(show: Show) -> None:
    assert "exit status 1: xmalloc: out of memory" in show("B2")


def test_b3_calloc(show: Show) -> None:
    text = show("B3")
    assert "calloc(10, 4): True" in text and "calloc(2**40, 2**40): 0, errno 12" in text and "1 page fault" in text


def test_b4_realloc(show: Show) -> None:
    text = show("B4")
    assert text.count("True") == 4 and "a mapped block: 0 bytes copied" in text and "frees: 0" in text


def test_b5_free(show: Show) -> None:
    text = show("B5")
    assert "a middle pointer: free(): invalid pointer" in text
    assert "twice: free(): double free detected in tcache 2" in text and "NULL: nothing happens" in text


def test_b6_print_chars(show: Show) -> None:
    text = show("B6")
    assert text.count("XXXXX") == 200
    assert "with the free, a call leaves 0 bytes in use" in text
    assert "without the free, a call leaves 32 bytes in use" in text


def test_b7_alignment(show: Show) -> None:
    assert show("B7").count("0 low bits of") == 5


def test_b8_posix_memalign(show: Show) -> None:
    text = show("B8")
    assert "posix_memalign(256): 0, 0 over 256" in text and "posix_memalign(24): 22" in text


def test_b9_structs(show: Show) -> None:
    assert "24 bytes, 13 of padding; 16 in the order value, count, tag" in show("B9")


def test_c1_break(show: Show) -> None:
    text = show("C1")
    assert "returns the old one: True" in text and "brk back: 0" in text and "too far: -1, errno 12" in text


def test_d1_buddy(show: Show) -> None:
    before, taken, after = (eval(line.partition(":")[2]) for line in show("D1").splitlines())
    frames = [sum(count << order for order, count in enumerate(counts)) for counts in (before, taken, after)]
    assert frames[0] - frames[1] >= 37
    assert taken != before and len(after) == 11


def test_d2_three_blocks(show: Show) -> None:
    text = show("D2")
    assert "on the heap: freeing B gives back 0 KiB" in text and "mapped: freeing B gives back 204 KiB" in text


def test_d3_anonymous_mappings(show: Show) -> None:
    text = show("D3")
    assert r"zeroed: b'\x00\x00\x00'" in text and "gave back 64 pages at once" in text


def test_d4_threshold(show: Show) -> None:
    assert [line.rpartition(" ")[2] for line in show("D4").splitlines()] == ["mapping", "heap", "mapping"]


def test_d5_mmap(show: Show) -> None:
    assert re.findall(r"errno (\d+)", show("D5")) == ["22", "12", "22"]


def test_d6_dev_zero(show: Show) -> None:
    assert r"b'anonymous', then zeros: b'\x00\x00\x00'" in show("D6")


def test_e1_mallopt(show: Show) -> None:
    text = show("E1")
    assert len(re.findall(r"mallopt\(M_\w+, \d+\) = 1", text)) == 9
    assert "a new block holds aaaaaaaaaaaaaaaa" in text and "a MiB lies in the heap: True" in text


def test_e2_usable_size(show: Show) -> None:
    assert "malloc(21): 24 bytes usable" in show("E2")


def test_e3_trim(show: Show) -> None:
    assert "malloc_trim(0) = 1, gave back 896 KiB under a live block" in show("E3")


def test_f1_malloc_check(show: Show) -> None:
    lines = show("F1").splitlines()
    assert lines[0] == "MALLOC_CHECK_=0: the program goes on"
    assert "free(): invalid pointer" in lines[3]


def test_f2_mallinfo(show: Show) -> None:
    names = [line.split()[0] for line in show("F2").splitlines()]
    assert names == "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()


def test_f3_malloc_stats(show: Show) -> None:
    text = show("F3")
    assert "Arena 0:\nsystem bytes     =     135168\n" in text and '<malloc version="1">' in text


def test_every_row_has_its_test_example_picture_lesson_and_page() -> None:
    sys.path.insert(0, str(ROOT / "docs" / "extensions"))
    try:
        import chapter
    finally:
        sys.path.pop(0)
    assert chapter.missing(chapter.read_rows()) == []
