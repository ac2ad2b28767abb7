# SPDX-License-Identifier: LGPL-2.1-or-later
"""The address space of a process, high addresses at the top, and the break that moves in it."""

from __future__ import annotations

from memtwin.pictures.canvas import Canvas
from memtwin.units import format_size
from memtwin.views import AddressSpaceView, Region

_NAMES = {"text": "text", "rodata": "constants", "data": "data", "bss": "bss", "heap": "heap", "mapping": "mappings",
          "library": "libraries", "stack": "stack", "kernel": "kernel's own"}  # fmt: skip


def address_space(view: AddressSpaceView, before: AddressSpaceView | None = None) -> str:
    """The regions of a process from top to bottom; gaps are dashed; regions that are new or moved since `before` are
    framed. Heights grow with the logarithm of the size, or nothing small could be seen."""
    regions = sorted(view.regions, key=lambda region: -region.start)
    known = {(region.start, region.end) for region in before.regions} if before else None
    rows = [(region, _height(region.end - region.start)) for region in regions]
    height = 64 + sum(tall + 14 for _, tall in rows)
    sheet = Canvas(600, height, f"Address space of process {view.pid}", _described(view))
    y, above = 34.0, 0
    for region, tall in rows:
        if above and region.end < above:
            sheet.box(190, y, 190, 10, "gap", f"nothing mapped: {format_size(above - region.end)}")
        y += 12 if above else 0
        changed = known is not None and (region.start, region.end) not in known
        _row(sheet, view, region, y, tall, changed)
        y, above = y + tall + 2, region.start
    sheet.legend(8, height - 10, {kind: _NAMES[kind] for kind in _NAMES if any(r.kind == kind for r in regions)})
    return sheet.svg()


def _row(sheet: Canvas, view: AddressSpaceView, region: Region, y: float, tall: float, changed: bool) -> None:
    size = region.end - region.start
    hover = f"{region.start:#x}-{region.end:#x} {region.permissions} {region.name} {format_size(size)}"
    sheet.box(190, y, 190, tall, region.kind, hover, changed, key=f"{region.start:#x}")
    sheet.say(182, y + 10, f"{region.end:#x}", size=10, anchor="end", mono=True, faint=True)
    if tall > 22:
        sheet.say(182, y + tall - 2, f"{region.start:#x}", size=10, anchor="end", mono=True, faint=True)
    sheet.say(285, y + tall / 2 + 4, f"{_NAMES[region.kind]} {region.permissions}", anchor="middle", size=10)
    name = region.name.rsplit("/", 1)[-1]
    sheet.say(388, y + tall / 2 + 4, f"{name} {format_size(size)}, {region.resident} pages in memory".strip(), size=10)
    if region.kind == "heap" and view.brk_end:
        sheet.arrow(560, y + 2, 384, y + 2)
        sheet.say(562, y + 6, "brk", size=10)


def _height(size: int) -> float:
    return 16 + 2.2 * max(0, size.bit_length() - 12)


def _described(view: AddressSpaceView) -> str:
    return "; ".join(f"{_NAMES[r.kind]} from {r.start:#x} to {r.end:#x} {r.permissions}" for r in view.regions)


def moving_break(view: AddressSpaceView, before: AddressSpaceView | None = None) -> str:
    """The heap from its start to the break, with the break's old place when it has moved."""
    sheet = Canvas(640, 120, f"The break of process {view.pid}", f"The break is at {view.brk_end:#x}")
    old = before.brk_end if before else view.brk_end
    span = max(view.brk_end, old, view.brk_start + 1) - view.brk_start
    scale = 480 / span
    width = max((view.brk_end - view.brk_start) * scale, 2)
    sheet.box(20, 40, width, 30, "heap", f"{view.brk_start:#x}-{view.brk_end:#x}", changed=old != view.brk_end)
    if old > view.brk_end:
        sheet.box(
            20 + (view.brk_end - view.brk_start) * scale, 40, (old - view.brk_end) * scale, 30, "gap", "given back"
        )
    here = 20 + (view.brk_end - view.brk_start) * scale
    sheet.arrow(here, 104, here, 74)
    sheet.say(here + 6, 104, f"break {view.brk_end:#x}", mono=True, size=10)
    sheet.say(20, 34, f"start {view.brk_start:#x}", mono=True, size=10, faint=True)
    if old != view.brk_end:
        was = 20 + (old - view.brk_start) * scale
        sheet.line(was, 36, was, 76)
        sheet.say(was, 88, f"was {old:#x} ({format_size(abs(view.brk_end - old))})", mono=True, size=10, faint=True,
                  anchor="middle" if was < 420 else "end")  # fmt: skip
    return sheet.svg()
