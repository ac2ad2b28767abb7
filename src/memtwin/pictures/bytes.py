# SPDX-License-Identifier: LGPL-2.1-or-later
"""Bytes: page, word, byte and bit of one address; and how the compiler lays out a structure."""

from __future__ import annotations

from memtwin.pictures.canvas import Canvas, text_width
from memtwin.views import LayoutView, Member, WordView

_WIDE = 600


def word(view: WordView, before: WordView | None = None) -> str:
    """A page with one word in it, the word's bytes, and the bits of the lowest byte, each the magnified part of the
    one above. Bytes that differ from `before` are framed."""
    data, address, page = view.data, view.address, view.address & -view.page_size
    sheet = Canvas(640, 258, f"Page, word, byte, bit at {address:#x}", f"The bytes {data.hex(' ')} at {address:#x}")
    sheet.box(20, 34, _WIDE, 26, "anonymous", f"the page {page:#x} of {view.page_size} bytes")
    at, wide = 20 + _WIDE * (address - page) / view.page_size, max(3.0, _WIDE * len(data) / view.page_size)
    sheet.box(at, 34, wide, 26, "swapped", f"the word at {address:#x}")
    sheet.say(24, 74, f"page {page:#x}: {view.page_size} bytes, {view.page_size // len(data)} words", size=10)
    _magnify(sheet, at, at + wide, 60, 20, 20 + _WIDE, 96)
    step = _WIDE / len(data)
    for place, byte in enumerate(data):
        changed = before is not None and before.data[place : place + 1] != data[place : place + 1]
        sheet.box(
            20 + place * step, 96, step - 4, 28, "swapped", f"byte {place} at {address + place:#x}: {byte}", changed
        )
        sheet.fit(20 + place * step, 114, step - 4, f"{byte:02x}", size=12, mono=True)
    value = int.from_bytes(data, "little")
    sheet.say(24, 138, f"word {value:#x}: {len(data)} bytes, the lowest first", size=10)
    _magnify(sheet, 20, 20 + step - 4, 124, 20, 20 + 8 * 44, 160)
    for bit in range(8):
        on = data[0] >> (7 - bit) & 1
        sheet.box(20 + bit * 44, 160, 40, 28, "live" if on else "free", f"bit {7 - bit}")
        sheet.fit(20 + bit * 44, 179, 40, str(on), size=12, mono=True)
        sheet.fit(20 + bit * 44, 202, 40, f"bit {7 - bit}", size=9)
    sheet.say(24, 224, f"byte {data[0]:#04x} = {data[0]}: 8 bits, the highest first", size=10)
    return sheet.svg()


def _magnify(
    sheet: Canvas, left: float, right: float, y: float, wider_left: float, wider_right: float, below: float
) -> None:
    sheet.line(left, y, wider_left, below, faint=True)
    sheet.line(right, y, wider_right, below, faint=True)


_ROW_BYTES = 16
_CELL = 38


def layout(view: LayoutView, before: LayoutView | None = None) -> str:
    """A structure byte by byte, 16 a row: members in their colours, and what is padding. Members that lie
    elsewhere than in `before` (another order of the same members) are framed."""
    rows = max(-(-view.size // _ROW_BYTES), 1)
    padding = sum(size for _, size in view.holes)
    title = f"{view.name}: {view.size} bytes, {padding} of them padding, alignment {view.alignment}"
    sheet = Canvas(70 + _ROW_BYTES * _CELL, 92 + rows * 34, title, _described(view))
    for column in range(_ROW_BYTES):
        sheet.say(54 + column * _CELL + _CELL / 2, 40, f"+{column}", size=9, anchor="middle", faint=True)
    for row in range(rows):
        sheet.say(46, 62 + row * 34, str(row * _ROW_BYTES), size=10, anchor="end", mono=True, faint=True)
        if row and row * _ROW_BYTES % view.cache_line == 0:
            sheet.line(50, 43 + row * 34, 58 + _ROW_BYTES * _CELL, 43 + row * 34)
    old = {member.name: (member.offset, member.bits) for member in before.members} if before else {}
    for offset, size in view.holes:
        _run(sheet, offset, size, "padding", "", f"{size} bytes of padding at {offset}", False)
    for place, member in enumerate(view.members):
        changed = before is not None and old.get(member.name) != (member.offset, member.bits)
        _member(sheet, member, ("live", "tcache")[place % 2], changed)
    sheet.legend(54, 74 + rows * 34, {"live": "a member", "tcache": "the next", "padding": "padding"})
    if view.size > view.cache_line:
        sheet.say(300, 74 + rows * 34, f"a line every {view.cache_line} bytes: the cache lines", size=10, faint=True)
    return sheet.svg()


def _member(sheet: Canvas, member: Member, kind: str, changed: bool) -> None:
    if member.bits is None:
        hover = f"{member.declared}: {member.size} bytes at {member.offset}"
        _run(sheet, member.offset, member.size, kind, member.name, hover, changed)
        return
    first, count = member.bits
    x, y = 54 + first / 8 % _ROW_BYTES * _CELL, 46 + first // 8 // _ROW_BYTES * 34
    wide = min(count / 8 * _CELL, 54 + _ROW_BYTES * _CELL - x)
    sheet.box(x, y, wide - 1, 28, kind, f"{member.declared}: {count} bits from bit {first} on", changed)
    sheet.fit(x, y + 18, wide, member.name, size=9)


def _run(sheet: Canvas, offset: int, size: int, kind: str, name: str, hover: str, changed: bool) -> None:
    """A member or hole, in as many pieces as it has rows; its name stands in the first piece that has room."""
    at, end, said = offset, offset + size, False
    while at < end:
        stop = min(end, (at // _ROW_BYTES + 1) * _ROW_BYTES)
        x, y, wide = 54 + at % _ROW_BYTES * _CELL, 46 + at // _ROW_BYTES * 34, (stop - at) * _CELL - 2
        sheet.box(x, y, wide, 28, kind, hover, changed)
        if name and not said and text_width(name, 10) < wide - 4:
            sheet.fit(x, y + 18, wide, name)
            said = True
        at = stop


def _described(view: LayoutView) -> str:
    members = ", ".join(f"{member.declared} at {member.offset}" for member in view.members)
    holes = ", ".join(f"{size} at {offset}" for offset, size in view.holes)
    return f"{members}; padding: {holes or 'none'}"
