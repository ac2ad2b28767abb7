# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pages and where they lie: in frames that processes share or have for themselves, in slots on the disk, or nowhere."""

from __future__ import annotations

from memtwin.pictures.canvas import Canvas, beside, hex_short
from memtwin.views import Page, PagesView, PagingView

_STATES = {"absent": "absent", "zero": "zero page", "anonymous": "own frame", "file": "file", "shared": "shared",
           "swapped": "on disk"}  # fmt: skip
_ROW, _WIDE, _PLACE = 24, 196, 96  # height of a row, width of a page's box and of a frame's
_LEFT, _MIDDLE, _RIGHT = 20, 292, 464
MOST_ROWS = 32  # a picture shows the first so many pages of each process

Before = tuple[PagesView, ...] | None


def page_table(processes: tuple[PagesView, ...] | PagesView, before: Before | PagesView = None) -> str:
    """Pages of one or two processes on the left and right, frames and swap slots in the middle: sharing and
    copy-on-write show as two arrows to one frame. Pages whose state or frame changed since `before` are framed."""
    views, old_views = _several(processes), None if before is None else _several(before)
    old = {(view.pid, page.address): page for view in old_views or () for page in view.pages}
    before_of = {view.pid: view for view in old_views or ()}
    columns = [view.pages[:MOST_ROWS] for view in views[:2]]
    places = _places([page for pages in columns for page in pages])
    rows = max([len(places), *map(len, columns), 1])
    sheet = Canvas(_RIGHT + _WIDE + 20, 80 + rows * _ROW, _title(views), _described(views))
    for (kind, number), row in places.items():
        y = 46 + row * _ROW
        sheet.box(
            _MIDDLE, y, _PLACE, 20, "swapped" if kind == "slot" else "zero", f"{kind} {number}", key=f"{kind} {number}"
        )
        sheet.fit(_MIDDLE, y + 14, _PLACE, f"{'disk slot' if kind == 'slot' else kind} {number}")
    for side, (view, pages) in enumerate(zip(views, columns, strict=False)):
        x = _RIGHT if side else _LEFT
        sheet.say(x, 38, f"process {view.pid}", size=11, weight="600")
        for row, page in enumerate(pages):
            known = before_of.get(view.pid)
            changed = old_views is not None and old.get((view.pid, page.address)) != page
            changed = changed and (known is None or known.knows(page.address))
            _page(sheet, page, x, 46 + row * _ROW, changed)
            if (place := _place_of(page)) is not None:
                y, there = 56 + row * _ROW, 56 + places[place] * _ROW
                sheet.arrow(x - 2 if side else x + _WIDE + 2, y, _MIDDLE + _PLACE + 2 if side else _MIDDLE - 2, there)
    kinds = {page.state for pages in columns for page in pages}
    sheet.legend(_LEFT, 68 + rows * _ROW, {kind: name for kind, name in _STATES.items() if kind in kinds})
    return sheet.svg()


def _several(views: tuple[PagesView, ...] | PagesView) -> tuple[PagesView, ...]:
    return (views,) if isinstance(views, PagesView) else views


def _title(views: tuple[PagesView, ...]) -> str:
    what = "Pages and frames" if len(views) < 2 else f"Pages of processes {views[0].pid} and {views[1].pid}"
    more = sum(view.left_out for view in views)
    return f"{what}; {more} more are touched" if more else what


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
    words = f"{hex_short(page.address)} {_STATES[page.state]}{rights}"
    dirt = ", dirty" if page.dirty else ""
    sheet.box(x, y, _WIDE, 20, page.state, f"{page.address:#x}: {_STATES[page.state]}{rights}{dirt}", changed,
              key=f"{page.address:#x}")  # fmt: skip
    sheet.say(x + 6, y + 14, words, size=10, mono=True)


def _described(views: tuple[PagesView, ...]) -> str:
    return "; ".join(
        f"process {view.pid}: " + ", ".join(f"{page.address:#x} {_STATES[page.state]}" for page in view.pages[:8])
        for view in views
    )


def copy_on_write(before: tuple[PagesView, ...], after: tuple[PagesView, ...]) -> str:
    """Two processes before a write and after it: the page that was copied has a frame of its own now."""
    return beside("Copy on write: before and after", page_table(before), page_table(after, before))


_CELL, _COLUMNS = 58, 4


def paging(view: PagingView, before: PagingView | None = None) -> str:
    """RAM on the left, the disk on the right, and each page of a process where it lies. Pages that moved since
    `before` are framed, with an arrow to say which way: in from the disk, or out to it."""
    pages = view.pages.pages[: _COLUMNS * 16]
    here = [page for page in pages if page.frame is not None and page.state != "zero"]
    there = [page for page in pages if page.state == "swapped"]
    rows = max(-(-len(here) // _COLUMNS), -(-len(there) // _COLUMNS), 1)
    used = sum(1 for owner in view.swap.owners if owner)
    sheet = Canvas(660, 130 + rows * 26, "Paging between RAM and disk", _paging_described(here, there))
    old = {page.address: page for page in before.pages.pages} if before else {}
    came = _moved(here, old, "swapped")
    gone = [page for page in there if page.address in old and old[page.address].state != "swapped"]
    _store(sheet, 20, rows, f"RAM: {len(here)} of these pages", here, came)
    _store(sheet, 400, rows, f"Disk: {used} of {len(view.swap.owners)} slots in use", there, gone)
    y = 58 + rows * 13
    _way(sheet, y - 14, 396, 266, f"{len(came)} in", bool(came))
    _way(sheet, y + 14, 266, 396, f"{len(gone)} out", bool(gone))
    nowhere = len(pages) - len(here) - len(there)
    sheet.say(
        20,
        92 + rows * 26,
        f"{nowhere} of the {len(pages)} pages have never been touched, or are zero.",
        size=10,
        faint=True,
    )
    sheet.legend(20, 116 + rows * 26, {"anonymous": "own frame", "shared": "shared", "swapped": "on disk"})
    return sheet.svg()


def _moved(pages: list[Page], old: dict[int, Page], state: str) -> list[Page]:
    return [page for page in pages if page.address in old and old[page.address].state == state]


def _store(sheet: Canvas, x: float, rows: int, title: str, pages: list[Page], moved: list[Page]) -> None:
    sheet.say(x, 40, title, size=11, weight="600")
    sheet.box(x, 48, _COLUMNS * _CELL + 10, rows * 26 + 12, "absent")
    for place, page in enumerate(pages):
        at, y = x + 6 + place % _COLUMNS * _CELL, 55 + place // _COLUMNS * 26
        where = f"frame {page.frame}" if page.frame is not None else f"slot {page.slot}"
        sheet.box(
            at,
            y,
            _CELL - 4,
            20,
            page.state,
            f"page {page.address:#x} in {where}",
            page in moved,
            key=f"{page.address:#x}",
        )
        sheet.fit(at, y + 14, _CELL - 4, f"…{page.address & 0xFFFFF:05x}", size=9, mono=True)


def _way(sheet: Canvas, y: float, start: float, end: float, words: str, any_moved: bool) -> None:
    if any_moved:
        sheet.arrow(start, y, end, y)
        sheet.say((start + end) / 2, y - 5, words, size=11, anchor="middle", weight="600")


def _paging_described(here: list[Page], there: list[Page]) -> str:
    return f"{len(here)} pages in RAM, {len(there)} on the disk"
