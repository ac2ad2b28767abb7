# SPDX-License-Identifier: LGPL-2.1-or-later
"""Views as tables for a terminal: what `rich.print(process.heap())` shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from rich.table import Table
from rich.text import Text

from memtwin.errors import UserError
from memtwin.units import format_size
from memtwin.views import (
    AddressSpaceView,
    BuddyView,
    EventsView,
    FramesView,
    HeapView,
    LayoutView,
    PagesView,
    PagingView,
    SwapView,
    TimelineView,
    TlbView,
    WalkView,
    WordView,
)

MOST_ROWS = 64


def table(view: Any) -> Table:
    """A view as a table of at most MOST_ROWS rows; the caption says how many were left out. UserError: no view."""
    make = _TABLES.get(type(view))
    if make is None:
        raise UserError(f"{view!r:.60} is no view")
    return make(view)


def _table(title: str, columns: str, rows: Iterable[Iterable[object]]) -> Table:
    """Columns: names separated by spaces, those of numbers with a trailing ">"."""
    made = Table(title=title, title_justify="left", title_style="bold", header_style="dim")
    for name in columns.split():
        made.add_column(name.rstrip(">").replace("_", " "), justify="right" if name.endswith(">") else "left")
    left = 0
    for row in rows:
        if made.row_count < MOST_ROWS:
            made.add_row(*(Text(str(cell)) for cell in row))
        else:
            left += 1
    made.caption = f"and {left} more" if left else None
    return made


def _address_space(view: AddressSpaceView) -> Table:
    rows = (
        (f"{r.start:x}", f"{r.end:x}", r.permissions, format_size(r.size), r.resident, r.kind, r.name)
        for r in view.regions
    )
    return _table(f"Address space of process {view.pid}", "start> end> access size> resident> kind name", rows)


def _pages(view: PagesView) -> Table:
    rows = (
        (f"{p.address:x}", p.state, "" if p.frame is None else p.frame, "" if p.slot is None else p.slot,
         ("w" if p.writable else "-") + ("d" if p.dirty else "-") + ("a" if p.accessed else "-"))
        for p in view.pages
    )  # fmt: skip
    return _table(f"Pages of process {view.pid}", "address> state frame> slot> bits", rows)


def _paging(view: PagingView) -> Table:
    return _pages(view.pages)


def _frames(view: FramesView) -> Table:
    rows = (
        (f.number, f.kind, f.references, ", ".join(f"{pid}:{address:#x}" for pid, address in f.owners[:4]))
        for f in view.frames
        if f.kind != "free"
    )
    return _table(f"{view.total - view.free} of {view.total} frames in use", "frame> kind mapped> owners", rows)


def _walk(view: WalkView) -> Table:
    rows = [(lv.name, lv.index, f"{lv.entry:#x}" if lv.present else "not present") for lv in view.levels]
    end = "page fault" if view.frame is None else f"frame {view.frame}"
    return _table(f"Translating {view.address:#x}", "level index> entry>", [*rows, ("offset", view.offset, end)])


def _heap(view: HeapView) -> Table:
    rows = ((f"{c.address:x}", f"{c.pointer:x}", c.size, c.state, c.list, c.label) for c in view.chunks)
    return _table(f"Heap of the {view.arena} arena", "chunk> pointer> bytes> state list name", rows)


def _buddy(view: BuddyView) -> Table:
    rows = ((order, len(blocks), " ".join(map(str, sorted(blocks)[:8]))) for order, blocks in enumerate(view.free))
    return _table(f"Buddy allocator, {view.total} frames", "order> free> first_frames", rows)


def _swap(view: SwapView) -> Table:
    used = [(slot, owner) for slot, owner in enumerate(view.owners) if owner]
    return _table(f"Swap: {len(used)} of {len(view.owners)} slots in use", "slot> page", used)


def _tlb(view: TlbView) -> Table:
    rows = ((number, *(f"{page:#x} → {frame}" for page, frame in entries)) for number, entries in enumerate(view.sets))
    ways = " ".join(f"way_{way}" for way in range(view.ways))
    return _table(f"TLB: {view.hits} hits, {view.misses} misses", f"set> {ways}", rows)


def _events(view: EventsView) -> Table:
    return _table("Events", "step> kind sentence", ((e.step, e.kind, e.sentence) for e in view.events))


def _timeline(view: TimelineView) -> Table:
    most = {name: max((size for _, size in series), default=0) for name, series in view.series.items()}
    rows = ((name, len(series), format_size(int(most[name]))) for name, series in view.series.items())
    return _table(f"Memory over time, in {view.unit}", "series points> most>", rows)


def _word(view: WordView) -> Table:
    rows = ((f"{view.address + place:x}", f"{byte:02x}", f"{byte:08b}", byte) for place, byte in enumerate(view.data))
    return _table(f"Bytes at {view.address:#x}", "address> hex bits decimal>", rows)


def _layout(view: LayoutView) -> Table:
    members: list[tuple[int, int, str]] = [(m.offset, m.size, m.declared) for m in view.members]
    holes = [(offset, size, "(padding)") for offset, size in view.holes]
    return _table(f"{view.name}: {view.size} bytes, alignment {view.alignment}", "offset> bytes> member",
                  sorted(members + holes))  # fmt: skip


_TABLES: dict[type, Callable[[Any], Table]] = {
    AddressSpaceView: _address_space, PagesView: _pages, PagingView: _paging, FramesView: _frames, WalkView: _walk,
    HeapView: _heap, BuddyView: _buddy, SwapView: _swap, TlbView: _tlb, EventsView: _events, TimelineView: _timeline,
    WordView: _word, LayoutView: _layout,
}  # fmt: skip
