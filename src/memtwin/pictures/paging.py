# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pages, frames, translation and swap: what the memory management unit and the kernel see."""

from __future__ import annotations

from memtwin.pictures.canvas import Canvas, hex_short
from memtwin.views import Frame, FramesView, PagesView, SwapView, TlbView, WalkView

_STATES = {"absent": "absent", "zero": "zero page", "anonymous": "own frame", "file": "file", "shared": "shared",
           "swapped": "swapped out"}  # fmt: skip
_FRAMES = {"free": "free", "anonymous": "anonymous", "file": "file", "shared": "shared", "table": "page table",
           "zero": "zero page", "kernel": "kernel"}  # fmt: skip
_COLUMNS, _CELL = 32, 18
MOST_ROWS = 32  # a picture shows the first so many pages or frames of each process; the text says how many there are


def frames_grid(view: FramesView, before: FramesView | None = None) -> str:
    """Each frame a cell: its colour says what it holds, a number how many map it. Changed frames are framed."""
    shown = view.frames[: _COLUMNS * MOST_ROWS]
    rows = -(-len(shown) // _COLUMNS)
    height = 70 + rows * _CELL
    sheet = Canvas(40 + _COLUMNS * _CELL, height, f"{view.total - view.free} of {view.total} frames in use",
                   f"{view.free} frames are free")  # fmt: skip
    old = {frame.number: frame for frame in before.frames} if before else {}
    for place, frame in enumerate(shown):
        x, y = 20 + place % _COLUMNS * _CELL, 32 + place // _COLUMNS * _CELL
        changed = before is not None and old.get(frame.number) != frame
        sheet.box(x, y, _CELL - 2, _CELL - 2, frame.kind, _frame_hover(frame), changed, key=f"frame {frame.number}")
        if len(frame.owners) > 1:
            sheet.say(x + 8, y + 12, str(len(frame.owners)), size=10, anchor="middle")
    kinds = {frame.kind for frame in shown}
    sheet.legend(20, height - 12, {kind: name for kind, name in _FRAMES.items() if kind in kinds})
    return sheet.svg()


def _frame_hover(frame: Frame) -> str:
    owners = ", ".join(f"process {pid} at {address:#x}" for pid, address in frame.owners[:6])
    return (
        f"frame {frame.number}: {_FRAMES[frame.kind]}, {frame.references} references{'; ' + owners if owners else ''}"
    )


def page_table(processes: tuple[PagesView, ...], before: tuple[PagesView, ...] | None = None) -> str:
    """Pages of one or more processes on the left and right, their frames in the middle: sharing and copy-on-write show
    as two arrows to one frame. Pages whose state or frame changed since `before` are framed."""
    old = {(view.pid, page.address): page for view in before or () for page in view.pages}
    columns = [view.pages[:MOST_ROWS] for view in processes[:2]]
    frames = sorted({page.frame for pages in columns for page in pages if page.frame is not None})
    rows = max([len(frames), *map(len, columns), 1])
    sheet = Canvas(680, 74 + rows * 24, "Pages and frames", _pages_described(processes))
    places = {frame: 44 + row * 24 for row, frame in enumerate(frames)}
    for frame, y in places.items():
        sheet.box(300, y, 80, 20, "anonymous", f"frame {frame}", key=f"frame {frame}")
        sheet.say(340, y + 14, f"frame {frame}", size=10, anchor="middle")
    for side, (view, pages) in enumerate(zip(processes, columns, strict=False)):
        x = 20 if side == 0 else 500
        sheet.say(x, 38, f"process {view.pid}", size=11, weight="600")
        for row, page in enumerate(pages):
            y = 44 + row * 24
            changed = before is not None and old.get((view.pid, page.address)) != page
            rights = "rw" if page.writable else "r-"
            hover = f"{page.address:#x}: {_STATES[page.state]}, {rights}"
            sheet.box(x, y, 160, 20, page.state, hover, changed, key=f"{page.address:#x}")
            sheet.say(x + 6, y + 14, f"{hex_short(page.address)} {_STATES[page.state]} {rights}", size=10, mono=True)
            if page.frame is not None and side == 0:
                sheet.arrow(x + 162, y + 10, 298, places[page.frame] + 10)
            elif page.frame is not None:
                sheet.arrow(x - 2, y + 10, 382, places[page.frame] + 10)
    kinds = {page.state for pages in columns for page in pages}
    sheet.legend(20, 66 + rows * 24, {kind: name for kind, name in _STATES.items() if kind in kinds})
    return sheet.svg()


def _pages_described(processes: tuple[PagesView, ...]) -> str:
    return "; ".join(
        f"process {view.pid}: " + ", ".join(f"{page.address:#x} {_STATES[page.state]}" for page in view.pages[:8])
        for view in processes
    )


def table_walk(view: WalkView) -> str:
    """One address taken apart: an index for each level of the page table, the entry found, the offset in the page."""
    count = len(view.levels)
    sheet = Canvas(130 * (count + 1) + 60, 190, f"Translating {view.address:#x}", _walk_described(view))
    for step, level in enumerate(view.levels):
        x = 20 + 130 * step
        sheet.box(x, 36, 116, 24, "zero", f"{level.name} index {level.index}")
        sheet.say(x + 58, 52, f"{level.name} {level.index}", anchor="middle", size=11, mono=True)
        sheet.box(x, 96, 116, 30, "table" if level.present else "absent", f"entry {level.entry:#x}")
        sheet.say(
            x + 58, 115, hex_short(level.entry) if level.present else "not present", anchor="middle", size=10, mono=True
        )
        sheet.arrow(x + 58, 62, x + 58, 94)
        if step:
            sheet.arrow(x - 12, 111, x - 1, 111)
    x = 20 + 130 * count
    sheet.box(x, 36, 116, 24, "zero", f"{view.offset_bits} bits")
    sheet.say(x + 58, 52, f"offset {view.offset:#x}", anchor="middle", size=11, mono=True)
    found = "no frame: page fault" if view.frame is None else f"frame {view.frame}"
    sheet.box(x, 96, 116, 30, "absent" if view.frame is None else "anonymous", found)
    sheet.say(x + 58, 115, found, anchor="middle", size=10)
    if view.frame is not None:
        sheet.arrow(x - 12, 111, x - 1, 111)
    sheet.say(20, 160, _walk_described(view), size=10, faint=True)
    return sheet.svg()


def _walk_described(view: WalkView) -> str:
    steps = ", ".join(f"{level.name}[{level.index}]" for level in view.levels)
    end = "no frame" if view.frame is None else f"frame {view.frame}, byte {view.offset}"
    return f"{steps} leads to {end}"


def swap_map(view: SwapView, before: SwapView | None = None) -> str:
    """The slots of the swap device; a slot in use says whose page lies there."""
    shown = view.owners[: _COLUMNS * MOST_ROWS]
    used = sum(1 for owner in view.owners if owner)
    height = 64 + -(-max(len(shown), 1) // _COLUMNS) * _CELL
    sheet = Canvas(40 + _COLUMNS * _CELL, height, f"Swap: {used} of {len(view.owners)} slots in use")
    for slot, owner in enumerate(shown):
        x, y = 20 + slot % _COLUMNS * _CELL, 32 + slot // _COLUMNS * _CELL
        changed = before is not None and (slot >= len(before.owners) or before.owners[slot] != owner)
        hover = f"slot {slot}: {owner or 'free'}"
        sheet.box(x, y, _CELL - 2, _CELL - 2, "swapped" if owner else "free", hover, changed)
    sheet.legend(20, height - 10, {"swapped": "in use", "free": "free"})
    return sheet.svg()


def tlb(view: TlbView) -> str:
    """The translation look-aside buffer: sets from top to bottom, ways from left to right, most recent first."""
    shown = view.sets[:MOST_ROWS]
    sheet = Canvas(80 + 120 * view.ways, 60 + 22 * len(shown), f"TLB: {view.hits} hits, {view.misses} misses")
    for row, entries in enumerate(shown):
        y = 34 + 22 * row
        sheet.say(60, y + 13, f"set {row}", size=10, anchor="end", faint=True)
        for way in range(view.ways):
            entry = entries[way] if way < len(entries) else None
            sheet.box(70 + 120 * way, y, 114, 18, "table" if entry else "absent", "" if entry else "empty")
            if entry:
                sheet.say(76 + 120 * way, y + 13, f"{entry[0]:#x} → {entry[1]}", size=10, mono=True)
    return sheet.svg()


def word(address: int, data: bytes, page_size: int) -> str:
    """Page, word, byte, bit: a page with one word in it, its eight bytes, and the bits of the lowest."""
    value = int.from_bytes(data, "little")
    sheet = Canvas(640, 230, f"Page, word, byte, bit at {address:#x}", f"The word {value:#x} as bytes {data.hex(' ')}")
    sheet.box(20, 34, 600, 26, "anonymous", f"the page {address & -page_size:#x} of {page_size} bytes")
    at = 20 + 600 * (address % page_size) / page_size
    sheet.box(at, 34, max(4, 600 * len(data) / page_size), 26, "swapped", f"the word at {address:#x}", changed=True)
    sheet.say(24, 76, f"page {address & -page_size:#x}: {page_size} bytes, {page_size // len(data)} words", size=10)
    for place, byte in enumerate(data):
        x = 20 + place * 600 / len(data)
        sheet.box(x, 92, 600 / len(data) - 4, 28, "zero", f"byte {place} at {address + place:#x}: {byte}")
        sheet.say(x + 300 / len(data) - 2, 110, f"{byte:02x}", anchor="middle", mono=True, size=12)
    sheet.say(24, 136, f"word {value:#x}: {len(data)} bytes, the lowest first", size=10)
    for bit in range(8):
        on = data[0] >> (7 - bit) & 1
        sheet.box(20 + bit * 40, 152, 36, 28, "live" if on else "free", f"bit {7 - bit}")
        sheet.say(38 + bit * 40, 171, str(on), anchor="middle", mono=True, size=12)
    sheet.say(24, 198, f"byte {data[0]:#04x}: 8 bits, the highest first", size=10)
    return sheet.svg()
