# SPDX-License-Identifier: LGPL-2.1-or-later
"""From an address to a frame: the walk through the page table, and the buffer that spares it."""

from __future__ import annotations

from memtwin.languages import Tell
from memtwin.pictures.canvas import Canvas, hex_short
from memtwin.pictures.words import in_language
from memtwin.views import TlbView, WalkView

_STEP, _WIDE = 136, 116
MOST_SETS = 32
_MOST_IN_LINE = 4  # ways of a set beside each other


def table_walk(view: WalkView, before: WalkView | None = None, language: str = "en") -> str:
    """One address taken apart: its bits, an index for each level of the page table, the entry found there, the offset
    in the page. Entries that changed since `before` are framed."""
    count, tell = len(view.levels), in_language(language)
    title = tell("Translating {address:#x}", address=view.address)
    sheet = Canvas(_STEP * (count + 1) + 30, 212, title, _walk_described(view, tell), tell)
    old = {level.name: level.entry for level in before.levels} if before else None
    wide = view.index_bits
    for step, level in enumerate(view.levels):
        x = 20 + _STEP * step
        bits = tell("bits {high} to {low}", high=level.shift + wide - 1, low=level.shift)
        sheet.say(x + _WIDE / 2, 42, bits, size=9, anchor="middle", faint=True)
        sheet.box(x, 48, _WIDE, 34, "zero", tell("{level} index {index}", level=level.name, index=level.index))
        sheet.say(x + _WIDE / 2, 62, f"{level.index:0{wide}b}", anchor="middle", size=9, mono=True)
        sheet.say(x + _WIDE / 2, 76, f"{level.name}[{level.index}]", anchor="middle", size=11, mono=True)
        changed = old is not None and old.get(level.name) != level.entry
        hover = tell("entry {entry}", entry=f"{level.entry:#x}")
        sheet.box(x, 118, _WIDE, 32, "table" if level.present else "absent", hover, changed)
        found = tell("entry {entry}", entry=hex_short(level.entry)) if level.present else tell("not present")
        sheet.say(x + _WIDE / 2, 138, found, anchor="middle", size=10)
        sheet.arrow(x + _WIDE / 2, 84, x + _WIDE / 2, 116)
        if step:
            sheet.arrow(x - 18, 134, x - 1, 134)
    _arrival(sheet, view, 20 + _STEP * count)
    sheet.say(20, 186, _walk_described(view, tell), size=10, faint=True)
    return sheet.svg()


def _arrival(sheet: Canvas, view: WalkView, x: float) -> None:
    tell = sheet.tell
    bits = tell("bits {high} to {low}", high=view.offset_bits - 1, low=0)
    sheet.say(x + _WIDE / 2, 42, bits, size=9, anchor="middle", faint=True)
    sheet.box(x, 48, _WIDE, 34, "zero", tell("{count} bits", count=view.offset_bits))
    sheet.say(x + _WIDE / 2, 70, tell("offset {at:#x}", at=view.offset), anchor="middle", size=11, mono=True)
    fault = view.frame is None
    end = tell("page fault") if fault else tell("frame {number}", number=view.frame)
    sheet.box(x, 118, _WIDE, 32, "absent" if fault else "anonymous", end)
    sheet.say(x + _WIDE / 2, 138, end, anchor="middle", size=11, weight="600")
    if not fault:
        sheet.arrow(x - 18, 134, x - 1, 134)
        sheet.arrow(x + _WIDE / 2, 84, x + _WIDE / 2, 116)


def _walk_described(view: WalkView, tell: Tell) -> str:
    steps = ", ".join(f"{level.name}[{level.index}]" for level in view.levels)
    if view.frame is None:
        return tell("{steps} leads to no frame: an access is a page fault.", steps=steps)
    return tell("{steps} leads to frame {frame}, byte {at}.", steps=steps, frame=view.frame, at=view.offset)


def tlb(view: TlbView, before: TlbView | None = None, language: str = "en") -> str:
    """The translation look-aside buffer: sets from top to bottom, ways from left to right, most recent first. Entries
    that were not there at `before` are framed."""
    shown, tell = view.sets[:MOST_SETS], in_language(language)
    asked = view.hits + view.misses
    title = tell("TLB: {hits} hits, {misses} misses", hits=view.hits, misses=view.misses)
    title += tell(" ({share:.0f} % hits)", share=100 * view.hits / asked) if asked else ""
    lines = -(-view.ways // _MOST_IN_LINE) or 1
    width = max(90 + 150 * min(view.ways, _MOST_IN_LINE), 320)
    sheet = Canvas(width, 46 + 22 * lines * len(shown), title, tell=tell)
    for row, entries in enumerate(shown):
        y = 34 + 22 * lines * row
        known = set(before.sets[row]) if before and row < len(before.sets) else None
        sheet.say(60, y + 13, tell("set {number}", number=row), size=10, anchor="end", faint=True)
        for way in range(view.ways):
            entry = entries[way] if way < len(entries) else None
            changed = entry is not None and known is not None and entry not in known
            x, line = 70 + 150 * (way % _MOST_IN_LINE), y + 22 * (way // _MOST_IN_LINE)
            sheet.box(x, line, 144, 18, "table" if entry else "absent", "" if entry else tell("empty"), changed)
            if entry:
                sheet.fit(x, line + 13, 144, f"{entry[0]:#x} → {entry[1]}", mono=True)
    return sheet.svg()
