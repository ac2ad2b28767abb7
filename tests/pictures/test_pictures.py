# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every picture is well-formed XML with a title and a description, shows its view, and marks what changed."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest

from memtwin import pictures as p
from memtwin.languages import LANGUAGES
from memtwin.pictures.canvas import Canvas, text_width
from memtwin.pictures.palette import FILLS
from memtwin.views import (
    AddressSpaceView,
    BuddyView,
    Chunk,
    Event,
    EventsView,
    Frame,
    FramesView,
    FreeList,
    HeapView,
    LayoutView,
    Member,
    Page,
    PagesView,
    PagingView,
    Region,
    SwapView,
    TimelineView,
    TlbView,
    WalkLevel,
    WalkView,
    WordView,
)  # fmt: skip

SPACE = AddressSpaceView(
    7,
    (
        Region(0x555555554000, 0x555555556000, "r-xp", "/bin/<cat>", "text", 2),
        Region(0x555555559000, 0x55555557A000, "rw-p", "[heap]", "heap", 3),
        Region(0x7FFFF7DD0000, 0x7FFFF7FA5000, "r-xp", "/usr/lib/libc.so.6", "library", 40),
        Region(0x7FFFFFFDE000, 0x7FFFFFFFF000, "rw-p", "[stack]", "stack", 3),
    ),
    0x555555559000,
    0x55555557A000,
)
GROWN = AddressSpaceView(7, (*SPACE.regions, Region(0x7FFFF7000000, 0x7FFFF7100000, "rw-p", "", "mapping")),
                         0x555555559000, 0x55555559B000)  # fmt: skip
HEAP = HeapView(
    0x555555559000, 0x55555557A000,
    (Chunk(0x555555559000, 0x290, "live", label="tcache"), Chunk(0x555555559290, 0x30, "tcache", "tcache 0x30"),
     Chunk(0x5555555592C0, 0x30, "tcache", "tcache 0x30"), Chunk(0x5555555592F0, 0x1000, "bin", "unsorted"),
     Chunk(0x55555555A2F0, 0x90, "live", label="p"), Chunk(0x55555555A380, 0x1FC80, "top")),
    (FreeList("tcache 0x30", (0x5555555592C0, 0x555555559290)), FreeList("unsorted", (0x5555555592F0,))),
)  # fmt: skip
PAGES = (
    PagesView(1, 4096, (Page(0x7FFFF7FF8000, "shared", 57), Page(0x7FFFF7FF9000, "absent"), Page(0x7FFFF7FFA000, "swapped", slot=3))),
    PagesView(2, 4096, (Page(0x7FFFF7FF8000, "shared", 57), Page(0x7FFFF7FF9000, "anonymous", 91, writable=True))),
)  # fmt: skip
FRAMES = FramesView(64, 60, tuple(Frame(n, "shared" if n == 5 else "free" if n > 8 else "anonymous",
                                        ((1, 4096), (2, 4096)) if n == 5 else (), 2) for n in range(64)))  # fmt: skip
WALK = WalkView(0x7FFFF7FF8123, (WalkLevel("PGD", 255, 0x1067, True, 39), WalkLevel("PUD", 511, 0x2067, True, 30),
                                 WalkLevel("PMD", 447, 0x3067, True, 21), WalkLevel("PTE", 504, 0x8000000000039867, True, 12)), 0x123, 12, 9, 57)  # fmt: skip
APART = (
    PagesView(1, 4096, (Page(0x7FFFF7FF8000, "anonymous", 57, writable=True), *PAGES[0].pages[1:])),
    PagesView(2, 4096, (Page(0x7FFFF7FF8000, "anonymous", 92, writable=True), PAGES[1].pages[1])),
)  # fmt: skip
OUT = PagingView(PagesView(1, 4096, tuple(Page(0x1000 * n, "swapped", slot=n) if n < 6 else Page(0x1000 * n, "anonymous", 40 + n) for n in range(9))),
                 SwapView(tuple((1, n << 12) if n < 6 else None for n in range(32))))  # fmt: skip
IN = PagingView(PagesView(1, 4096, tuple(Page(0x1000 * n, "swapped", slot=n) if 1 < n < 8 else Page(0x1000 * n, "anonymous", 50 + n) for n in range(9))),
                SwapView(tuple((1, n << 12) if 1 < n < 8 else None for n in range(32))))  # fmt: skip
STRUCT = LayoutView(
    "struct s",
    24,
    8,
    (
        Member("a", "char a", 0, 1),
        Member("d", "double d", 8, 8),
        Member("i", "int i", 16, 4),
        Member("low", "int low", 20, 4, (160, 3)),
        Member("high", "int high", 20, 4, (163, 9)),
    ),
)
ORDERED = LayoutView(
    "struct s",
    104,
    8,
    (
        Member("d", "double d", 0, 8),
        Member("i", "int i", 8, 4),
        Member("a", "char a", 12, 1),
        Member("long_name", "char long_name[90]", 13, 90),
    ),
)
EVENTS = EventsView(
    tuple(Event(n, ("minor fault", "copy on write", "page out")[n % 3], f"event {n}") for n in range(60))
)
BUDDY = BuddyView(64, ((3,), (4,), (), (8,), (16,), (32,)))
PICTURES: dict[str, Callable[[str], str]] = {  # by name: drawn in a language
    "address space": lambda language: p.address_space(SPACE, language=language),
    "address space after": lambda language: p.address_space(GROWN, SPACE, language=language),
    "break": lambda language: p.moving_break(GROWN, SPACE, language=language),
    "heap": lambda language: p.heap_strip(HEAP, language=language),
    "heap after": lambda language: p.heap_strip(HEAP, HeapView(HEAP.start, HEAP.end, HEAP.chunks[:3]), language=language),
    "bins": lambda language: p.bins(HEAP, language=language),
    "tcache": lambda language: p.tcache(HEAP, language=language),
    "pages": lambda language: p.page_table(PAGES, language=language),
    "pages after": lambda language: p.page_table(PAGES, PAGES[:1], language=language),
    "frames": lambda language: p.frames_grid(FRAMES, language=language),
    "walk": lambda language: p.table_walk(WALK, language=language),
    "swap": lambda language: p.swap_map(SwapView((None, (1, 0x1000)) * 20), language=language),
    "tlb": lambda language: p.tlb(TlbView((((0x7FFFF7FF8, 57), (1, 2)), ()), 4, 10, 3), language=language),
    "buddy": lambda language: p.buddy(BUDDY, language=language),
    "buddy after": lambda language: p.buddy(BUDDY, BuddyView(64, ((), (), (), (), (), (32,))), language=language),
    "word": lambda language: p.word(WordView(0x7FFFF7FF8810, b"\xa5" + bytes(range(1, 8)), 4096), language=language),
    "regions": lambda language: p.regions(GROWN, SPACE, language=language),
    "copy on write": lambda language: p.copy_on_write(APART, PAGES, language=language),
    "paging": lambda language: p.paging(IN, OUT, language=language),
    "layout": lambda language: p.layout(STRUCT, language=language),
    "layout after": lambda language: p.layout(ORDERED, STRUCT, language=language),
    "events": lambda language: p.events(EVENTS, EventsView(EVENTS.events[:50]), language=language),
    "break back": lambda language: p.moving_break(SPACE, GROWN, language=language),
    "below": lambda language: p.below("both", p.buddy(BUDDY, language=language), p.word(WordView(0, bytes(8), 4096), language=language)),
    "timeline": lambda language: p.timeline(TimelineView("events", {"now": ((0, 0), (10, 5 << 20), (20, 1 << 20)), "what if": ((0, 0), (10, 2 << 20))}, (Event(10, "peak", ""),)), language=language),
    "beside": lambda language: p.beside("before and after", p.buddy(BUDDY, language=language), p.buddy(BUDDY, language=language)),
    "empty": lambda language: p.heap_strip(HeapView(0, 0, ()), language=language) and p.frames_grid(FramesView(0, 0, ()), language=language) and p.page_table((), language=language) and p.events(EventsView(()), language=language) and p.bins(HeapView(0, 0, ()), language=language),
}  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_well_formed_and_says_in_words_what_it_shows(name: str, language: str) -> None:
    root = ET.fromstring(PICTURES[name](language))
    tags = [child.tag.rsplit("}", 1)[-1] for child in root]
    assert root.get("role") == "img"
    assert "title" in tags and "desc" in tags


def test_only_what_changed_is_framed() -> None:
    assert "mt-changed" not in _body(p.heap_strip(HEAP, HEAP))
    assert _body(p.heap_strip(HEAP, HeapView(HEAP.start, HEAP.end, HEAP.chunks[:3]))).count("mt-changed") == 3
    assert _body(p.address_space(GROWN, SPACE)).count("mt-changed") == 1


def test_pictures_are_pure() -> None:
    assert _unnamed(p.buddy(BUDDY)) == _unnamed(p.buddy(BUDDY))


def test_hostile_text_stays_text() -> None:
    sheet = Canvas(10, 10, "</title><script>alert(1)</script>\0", "&")
    sheet.say(0, 0, "<b>")
    sheet.box(0, 0, 1, 1, "live", hover="<img onerror=x>", key='"><script>')
    assert "<script" not in sheet.svg() and "<b>" not in sheet.svg() and "<img" not in sheet.svg()
    ET.fromstring(sheet.svg())
    assert "/bin/&lt;cat&gt;" in p.address_space(SPACE)


@pytest.mark.parametrize("kind", FILLS)
@pytest.mark.parametrize("mode", [0, 1])
def test_words_are_legible_on_every_fill(kind: str, mode: int) -> None:
    if kind == "header" or ((kind == "fence" or kind == "kernel") and mode):
        return  # nothing is written on these
    ink = ("#14181c", "#f2f5f7")[mode]
    assert _contrast(FILLS[kind][mode], ink) >= 4.5


def _contrast(one: str, other: str) -> float:
    bright, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _body(picture: str) -> str:
    return picture.split("</style>", 1)[1]


def _unnamed(picture: str) -> str:
    name = picture.split('aria-labelledby="', 1)[1].split("-title", 1)[0]
    return picture.replace(name, "")


@pytest.mark.parametrize("letters", [4, 40, 400])
def test_the_note_beside_a_region_is_not_cut_off(letters: int) -> None:
    region = Region(0x7FFFF7FB8000, 0x7FFFF7FBC000, "rw-s", f"/memfd:{'n' * letters} (deleted)", "mapping", 0)
    sheet = ET.fromstring(p.address_space(AddressSpaceView(7, (region,), 0x1000, 0x1000)))
    width = float(sheet.attrib["viewBox"].split()[2])
    (note,) = [text for text in sheet.iter() if (text.text or "").startswith("memfd:")]
    assert float(note.attrib["x"]) + text_width(note.text or "", 10) <= width < 1000
