# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pages and where they lie: in frames that processes share or have for themselves, in slots on the disk, or nowhere."""

from __future__ import annotations

from memtwin.languages import Tell
from memtwin.pictures.canvas import Canvas, beside, hex_short
from memtwin.pictures.words import in_language
from memtwin.views import Page, PagesView, PagingView

_STATES = {"absent": "absent", "zero": "zero page", "anonymous": "own frame", "file": "file", "shared": "shared",
           "swapped": "on disk"}  # fmt: skip
_ROW, _WIDE, _PLACE = 24, 196, 96  # height of a row, width of a page's box and of a frame's
_LEFT, _MIDDLE, _RIGHT = 20, 292, 464
MOST_ROWS = 32  # a picture shows the first so many pages of each process

Before = tuple[PagesView, ...] | None


def page_table(
    processes: tuple[PagesView, ...] | PagesView, before: Before | PagesView = None, language: str = "en"
) -> str:  # fmt: skip
    """Pages of one or two processes on the left and right, frames and swap slots in the middle: sharing and
    copy-on-write show as two arrows to one frame. Pages whose state or frame changed since `before` are framed."""
    tell = in_language(language)
    views, old_views = _several(processes), None if before is None else _several(before)
    old = {(view.pid, page.address): page for view in old_views or () for page in view.pages}
    before_of = {view.pid: view for view in old_views or ()}
    columns = [view.pages[:MOST_ROWS] for view in views[:2]]
    places = _places([page for pages in columns for page in pages])
    rows = max([len(places), *map(len, columns), 1])
    sheet = Canvas(_RIGHT + _WIDE + 20, 80 + rows * _ROW, _title(views, tell), _described(views, tell), tell)
    for (kind, number), row in places.items():
        y = 46 + row * _ROW
        colour, hover = ("swapped", "slot {number}") if kind == "slot" else ("zero", "frame {number}")
        sheet.box(_MIDDLE, y, _PLACE, 20, colour, tell(hover, number=number), key=f"{kind} {number}")
        sheet.fit(_MIDDLE, y + 14, _PLACE, tell("disk slot {number}" if kind == "slot" else hover, number=number))
    for side, (view, pages) in enumerate(zip(views, columns, strict=False)):
        x = _RIGHT if side else _LEFT
        sheet.say(x, 38, tell("process {pid}", pid=view.pid), size=11, weight="600")
        for row, page in enumerate(pages):
            known = before_of.get(view.pid)
            changed = old_views is not None and old.get((view.pid, page.address)) != page
            changed = changed and (known is None or known.knows(page.address))
            _page(sheet, page, x, 46 + row * _ROW, changed)
            if (place := _place_of(page)) is not None:
                y, there = 56 + row * _ROW, 56 + places[place] * _ROW
                sheet.arrow(x - 2 if side else x + _WIDE + 2, y, _MIDDLE + _PLACE + 2 if side else _MIDDLE - 2, there)
    kinds = {page.state for pages in columns for page in pages}
    sheet.legend(_LEFT, 68 + rows * _ROW, {kind: tell(name) for kind, name in _STATES.items() if kind in kinds})
    return sheet.svg()


def _several(views: tuple[PagesView, ...] | PagesView) -> tuple[PagesView, ...]:
    return (views,) if isinstance(views, PagesView) else views


def _title(views: tuple[PagesView, ...], tell: Tell) -> str:
    what = tell("Pages and frames")
    if len(views) > 1:
        what = tell("Pages of processes {first} and {second}", first=views[0].pid, second=views[1].pid)
    more = sum(view.left_out for view in views)
    return what + tell("; {count} more are touched", count=more) if more else what


def _place_of(page: Page) -> tuple[str, int] | None:
    if page.frame is not None:
        return "frame", page.frame
    return None if page.slot is None else ("slot", page.slot)


def _places(pages: list[Page]) -> dict[tuple[str, int], int]:
    """Frames and slots in the order in which pages first lead to them, so that arrows cross little: their rows."""
    found: dict[tuple[str, int], int] = {}
    for page in sorted(pages, key=lambda page: page.address):
        place = _place_of(page)
        if place is not None and place not in found:
            found[place] = len(found)
    return found


def _page(sheet: Canvas, page: Page, x: float, y: float, changed: bool) -> None:
    rights = "" if page.frame is None else " rw" if page.writable else " r-"
    state = sheet.tell(_STATES[page.state]) + rights
    words = f"{hex_short(page.address)} {state}"
    dirt = sheet.tell(", dirty") if page.dirty else ""
    sheet.box(x, y, _WIDE, 20, page.state, f"{page.address:#x}: {state}{dirt}", changed, key=f"{page.address:#x}")
    sheet.say(x + 6, y + 14, words, size=10, mono=True)


def _described(views: tuple[PagesView, ...], tell: Tell) -> str:
    said = []
    for view in views:
        states = (f"{page.address:#x} {tell(_STATES[page.state])}" for page in view.pages[:8])
        said.append(f"{tell('process {pid}', pid=view.pid)}: {', '.join(states)}")
    return "; ".join(said)


def copy_on_write(processes: tuple[PagesView, ...], before: tuple[PagesView, ...], language: str = "en") -> str:
    """Two processes before a write, and beside that after it: the page that was copied has a frame of its own now."""
    title = in_language(language)("Copy on write: before and after")
    return beside(title, page_table(before, None, language), page_table(processes, before, language))


_CELL, _COLUMNS = 58, 4


def paging(view: PagingView, before: PagingView | None = None, language: str = "en") -> str:
    """RAM on the left, the disk on the right, and each page of a process where it lies. Pages that moved since
    `before` are framed, with an arrow to say which way: in from the disk, or out to it."""
    tell = in_language(language)
    pages = view.pages.pages[: _COLUMNS * 16]
    here = [page for page in pages if page.frame is not None and page.state != "zero"]
    there = [page for page in pages if page.state == "swapped"]
    rows = max(-(-len(here) // _COLUMNS), -(-len(there) // _COLUMNS), 1)
    described = tell("{here} pages in RAM, {there} on the disk", here=len(here), there=len(there))
    sheet = Canvas(660, 130 + rows * 26, tell("Paging between RAM and disk"), described, tell)
    old = {page.address: page for page in before.pages.pages} if before else {}
    came = _moved(here, old, "swapped")
    gone = [page for page in there if page.address in old and old[page.address].state != "swapped"]
    _store(sheet, 20, rows, tell("RAM: {count} of these pages", count=len(here)), here, came)
    disk = tell("Disk: {used} of {total} slots in use", used=view.swap.used, total=len(view.swap.owners))
    _store(sheet, 400, rows, disk, there, gone)
    y = 58 + rows * 13
    _way(sheet, y - 14, 396, 266, tell("{count} in", count=len(came)), bool(came))
    _way(sheet, y + 14, 266, 396, tell("{count} out", count=len(gone)), bool(gone))
    nowhere = len(pages) - len(here) - len(there)
    rest = tell("{count} of the {total} pages have never been touched, or are zero.", count=nowhere, total=len(pages))
    sheet.say(20, 92 + rows * 26, rest, size=10, faint=True)
    sheet.legend(20, 116 + rows * 26, {kind: tell(_STATES[kind]) for kind in ("anonymous", "shared", "swapped")})
    return sheet.svg()


def _moved(pages: list[Page], old: dict[int, Page], state: str) -> list[Page]:
    return [page for page in pages if page.address in old and old[page.address].state == state]


def _store(sheet: Canvas, x: float, rows: int, title: str, pages: list[Page], moved: list[Page]) -> None:
    sheet.say(x, 40, title, size=11, weight="600")
    sheet.box(x, 48, _COLUMNS * _CELL + 10, rows * 26 + 12, "absent")
    for place, page in enumerate(pages):
        at, y = x + 6 + place % _COLUMNS * _CELL, 55 + place // _COLUMNS * 26
        hover = "page {address:#x} in slot {number}" if page.frame is None else "page {address:#x} in frame {number}"
        number = page.slot if page.frame is None else page.frame
        sheet.box(at, y, _CELL - 4, 20, page.state, sheet.tell(hover, address=page.address, number=number),
                  page in moved, key=f"{page.address:#x}")  # fmt: skip
        sheet.fit(at, y + 14, _CELL - 4, f"…{page.address & 0xFFFFF:05x}", size=9, mono=True)


def _way(sheet: Canvas, y: float, start: float, end: float, words: str, any_moved: bool) -> None:
    if any_moved:
        sheet.arrow(start, y, end, y)
        sheet.say((start + end) / 2, y - 5, words, size=11, anchor="middle", weight="600")
