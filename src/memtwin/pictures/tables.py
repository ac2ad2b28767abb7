# SPDX-License-Identifier: LGPL-2.1-or-later
"""Views as tables for a terminal: what `rich.print(process.heap())` shows, at most MOST_ROWS rows of each."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from memtwin import views
from memtwin.units import format_size

MOST_ROWS = 64


def _table(title: str, columns: str, rows: Iterable[Iterable[object]]) -> Table:
    """The caption says how many rows were left out. columns: names with spaces between, of numbers with a ">"."""
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


def address_space(view: views.AddressSpaceView) -> Table:
    """A region a row."""
    rows = (
        (f"{r.start:x}", f"{r.end:x}", r.permissions, format_size(r.size), r.resident, r.kind, r.name)
        for r in view.regions
    )
    return _table(f"Address space of process {view.pid}", "start> end> access size> resident> kind name", rows)


def pages(view: views.PagesView) -> Table:
    """A page a row, with the frame or slot that it lies in."""
    rows = (
        (f"{p.address:x}", p.state, "" if p.frame is None else p.frame, "" if p.slot is None else p.slot,
         ("w" if p.writable else "-") + ("d" if p.dirty else "-") + ("a" if p.accessed else "-"))
        for p in view.pages
    )  # fmt: skip
    return _table(f"Pages of process {view.pid}", "address> state frame> slot> bits", rows)


def paging(view: views.PagingView) -> Table:
    """The pages alone: where each lies says all."""
    return pages(view.pages)


def frames(view: views.FramesView) -> Table:
    """A frame a row, without the free ones."""
    rows = (
        (f.number, f.kind, f.references, ", ".join(f"{pid}:{address:#x}" for pid, address in f.owners[:4]))
        for f in view.frames
        if f.kind != "free"
    )
    return _table(f"{view.total - view.free} of {view.total} frames in use", "frame> kind mapped> owners", rows)


def walk(view: views.WalkView) -> Table:
    """A level of the page table a row, then the offset."""
    rows = [(lv.name, lv.index, f"{lv.entry:#x}" if lv.present else "not present") for lv in view.levels]
    end = "page fault" if view.frame is None else f"frame {view.frame}"
    return _table(f"Translating {view.address:#x}", "level index> entry>", [*rows, ("offset", view.offset, end)])


def heap(view: views.HeapView) -> Table:
    """A chunk a row."""
    rows = ((f"{c.address:x}", f"{c.pointer:x}", c.size, c.state, c.list, c.label) for c in view.chunks)
    return _table(f"Heap of the {view.arena} arena", "chunk> pointer> bytes> state list name", rows)


def buddy(view: views.BuddyView) -> Table:
    """An order a row."""
    rows = ((order, len(blocks), " ".join(map(str, sorted(blocks)[:8]))) for order, blocks in enumerate(view.free))
    return _table(f"Buddy allocator, {view.total} frames", "order> free> first_frames", rows)


def swap(view: views.SwapView) -> Table:
    """A used slot a row."""
    used = [(slot, f"process {owner[0]} at {owner[1]:#x}") for slot, owner in enumerate(view.owners) if owner]
    return _table(f"Swap: {len(used)} of {len(view.owners)} slots in use", "slot> page", used)


def tlb(view: views.TlbView) -> Table:
    """A set a row."""
    rows = ((number, *(f"{page:#x} → {frame}" for page, frame in entries)) for number, entries in enumerate(view.sets))
    ways = " ".join(f"way_{way}" for way in range(view.ways))
    return _table(f"TLB: {view.hits} hits, {view.misses} misses", f"set> {ways}", rows)


def events(view: views.EventsView) -> Table:
    """An event a row."""
    return _table("Events", "step> kind sentence", ((e.step, e.kind, e.sentence) for e in view.events))


def timeline(view: views.TimelineView) -> Table:
    """A series a row."""
    most = {name: max((size for _, size in series), default=0) for name, series in view.series.items()}
    rows = ((name, len(series), format_size(int(most[name]))) for name, series in view.series.items())
    return _table(f"Memory over time, in {view.unit}", "series points> most>", rows)


def word(view: views.WordView) -> Table:
    """A byte a row."""
    rows = ((f"{view.address + place:x}", f"{byte:02x}", f"{byte:08b}", byte) for place, byte in enumerate(view.data))
    return _table(f"Bytes at {view.address:#x}", "address> hex bits decimal>", rows)


def layout(view: views.LayoutView) -> Table:
    """A member or a hole a row."""
    members: list[tuple[int, int, str]] = [(m.offset, m.size, m.declared) for m in view.members]
    holes = [(offset, size, "(padding)") for offset, size in view.holes]
    return _table(f"{view.name}: {view.size} bytes, alignment {view.alignment}", "offset> bytes> member",
                  sorted(members + holes))  # fmt: skip
