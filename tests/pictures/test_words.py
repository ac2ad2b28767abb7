# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pictures and explanations speak Korean: every sentence has its translation, with the same fields, and none is idle."""

from __future__ import annotations

import ast
import re
import string
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.pictures.test_pictures import PICTURES

import memtwin
from memtwin import Machine, Process, UserError, pictures
from memtwin.kernel.sentences import KINDS
from memtwin.pictures import words as on_pictures
from memtwin.twin import words as of_twin
from memtwin.views import EventsView

ROOT = Path(memtwin.__file__).parent
TABLES = {"pictures": on_pictures.KOREAN, "twin": of_twin.KOREAN}
ROOMS = {
    "pictures": sorted((ROOT / "pictures").glob("*.py")),
    "twin": [ROOT / "twin" / name for name in ("explain.py", "unmapped.py")],
}
FROM_ELSEWHERE = {"main", "events", "seconds", *(kind.kind for kind in KINDS.values())}  # views bring them along

# What is the same in every language: names of C, of glibc and of processors, sizes, permissions; names that the tests gave.
SAME = set(
    "KiB MiB GiB TiB RAM TLB PGD PUD PMD PTE SIGSEGV glibc malloc free mmap brk bss fork exit main tcache unsorted small "
    "large bin fastbin heap stack libc so cat rw rwx ld linux vdso vvar program double struct char int xp deleted long_name low high "
    "now what if peak both before and after event minor fault copy on write page out".split()
)  # fmt: skip


def english_in(text: str) -> set[str]:
    """The words in Latin letters, without those of SAME, paths and hexadecimal numbers."""
    return (
        set(re.findall("[A-Za-z_]{2,}", re.sub(r"/\S+|\[\w+\]|0x[0-9a-f…]+|…[0-9a-f]+|\b[0-9a-f]{2}\b", "", text)))
        - SAME
    )


def sentences_of(room: str) -> Iterator[str]:
    """The texts that a room hands to a `tell` as they stand, or one of two, or by a name for one of two."""
    for file in ROOMS[room]:
        tree = ast.parse(file.read_text("utf-8"))
        nodes = list(ast.walk(tree))
        named = {ast.unparse(n.targets[0]): n.value for n in nodes if isinstance(n, ast.Assign)}
        for node in nodes:
            if isinstance(node, ast.Call) and _tells(node.func) and node.args:
                yield from _texts(named.get(ast.unparse(node.args[0]), node.args[0]))


def _tells(function: ast.expr) -> bool:
    return ast.unparse(function) in ("tell", "sheet.tell", "in_language(language)")


def _texts(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.IfExp):
        yield from (*_texts(node.body), *_texts(node.orelse))
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def constants_of(room: str) -> set[str]:
    """All texts in a room's files, but for its table."""
    trees = [ast.parse(file.read_text("utf-8")) for file in ROOMS[room]]
    kept = [node for tree in trees for node in tree.body
            if not (isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "KOREAN")]  # fmt: skip
    return {
        n.value for node in kept for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)
    }


@pytest.mark.parametrize("room", ROOMS)
def test_what_is_said_has_its_translation_and_no_translation_is_idle(room: str) -> None:
    said = set(sentences_of(room))
    assert len(said) > 30
    assert said - TABLES[room].keys() == set()
    kinds = {"rodata", "library", "table", "zero"}  # which views bring along, of regions and frames
    assert TABLES[room].keys() - constants_of(room) - FROM_ELSEWHERE - kinds == set()


@pytest.mark.parametrize("room", TABLES)
def test_both_languages_fill_in_the_same_fields(room: str) -> None:
    def fields(sentence: str) -> set[tuple[str | None, str | None]]:
        return {(name, form) for _, name, form, _ in string.Formatter().parse(sentence) if name is not None}

    assert [english for english, korean in TABLES[room].items() if fields(english) != fields(korean)] == []


@pytest.mark.parametrize("name", PICTURES)
def test_nothing_english_is_left_on_a_korean_picture(name: str) -> None:
    for element in ET.fromstring(PICTURES[name]("ko")).iter():
        if element.tag.endswith("style"):
            continue
        assert not english_in(element.text or ""), element.text


def story(process: Process) -> dict[int, str]:
    """Addresses of every kind, each with a name for who reads a failure."""
    machine = process.machine
    small, freed, mapped = process.malloc(24), process.malloc(24), process.malloc(300_000)
    process.free(freed)
    process.free(process.malloc(2000))
    chunks = {chunk.state: chunk.pointer for chunk in process.heap().chunks}
    m = process.mmap(length=16 * machine.page_size)
    process.read(m, 1)
    process.touch(m + machine.page_size, machine.page_size)
    process.mprotect(m + 2 * machine.page_size, machine.page_size, 0)
    process.touch(m + 4 * machine.page_size, machine.page_size)
    process.madvise(m + 4 * machine.page_size, machine.page_size, 21)
    shared = process.mmap(0, machine.page_size, 3, 0x21, -1, 0)
    process.touch(shared, machine.page_size)
    process.fork()
    places = {small: "block", freed: "freed", mapped + 9: "mapped", m: "zero", m + 4096: "own", m + 8192: "barred",
              m + 3 * 4096: "absent", m + 4 * 4096: "swapped", shared: "shared", 0: "nothing",
              process.space.brk_end + 64: "above the heap"}  # fmt: skip
    places |= {pointer: state for state, pointer in chunks.items()}
    return places | {region.start: region.kind for region in process.address_space().regions}


def test_explanations_are_all_korean() -> None:
    process = Machine(ram="64 MiB", swap="16 MiB").spawn()
    for address, name in story(process).items():
        english, korean = process.explain(address), process.explain(address, "ko")
        assert english != korean, name
        assert not english_in(korean), (name, korean)
        assert re.findall("0x[0-9a-f]+", english)[0] in korean


DRAWING: dict[str, Callable[[], object]] = {
    "draw": lambda: pictures.draw(EventsView(()), None, "xx"),
    "explain": lambda: Machine(ram="16 MiB").spawn().explain(0, "xx"),
    "observe": lambda: Machine(ram="16 MiB").observe(print, "xx"),
}


@pytest.mark.parametrize("what", DRAWING)
def test_an_unknown_language_is_refused(what: str) -> None:
    with pytest.raises(UserError, match="language 'xx': there are en and ko"):
        DRAWING[what]()


def test_an_observer_hears_its_language() -> None:
    machine = Machine(ram="16 MiB")
    told: dict[str, list[str]] = {"en": [], "ko": []}
    for language, heard in told.items():
        machine.observe(lambda event, heard=heard: heard.append(event.sentence), language)
    process = machine.spawn()
    process.touch(process.mmap(length=4096), 4096)
    assert told["en"][-1].startswith("process 1: first write to page")
    assert told["ko"][-1].startswith("프로세스 1: 페이지") and len(told["ko"]) == len(told["en"])
