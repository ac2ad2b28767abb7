# SPDX-License-Identifier: LGPL-2.1-or-later
"""Bytes: page, word, byte and bit of one address; and how the compiler lays out a structure."""

from __future__ import annotations

from memtwin.languages import Tell
from memtwin.pictures.canvas import Canvas, text_width
from memtwin.pictures.words import in_language
from memtwin.views import LayoutView, Member, WordView

_WIDE = 600


def word(view: WordView, before: WordView | None = None, language: str = "en") -> str:
    """A page with one word in it, the word's bytes, and the bits of the lowest byte, each the magnified part of the
    one above. Bytes that differ from `before` are framed."""
    data, address, page, size = view.data, view.address, view.address & -view.page_size, view.page_size
    tell = in_language(language)
    described = tell("The bytes {bytes} at {address:#x}", bytes=data.hex(" "), address=address)
    sheet = Canvas(640, 258, tell("Page, word, byte, bit at {address:#x}", address=address), described, tell)
    sheet.box(20, 34, _WIDE, 26, "anonymous", tell("the page {page:#x} of {size} bytes", page=page, size=size))
    at, wide = 20 + _WIDE * (address - page) / view.page_size, max(3.0, _WIDE * len(data) / view.page_size)
    sheet.box(at, 34, wide, 26, "swapped", tell("the word at {address:#x}", address=address))
    words = tell("page {page:#x}: {size} bytes, {words} words", page=page, size=size, words=size // len(data))
    sheet.say(24, 74, words, size=10)
    _magnify(sheet, at, at + wide, 60, 20, 20 + _WIDE, 96)
    step = _WIDE / len(data)
    for place, byte in enumerate(data):
        changed = before is not None and before.data[place : place + 1] != data[place : place + 1]
        hover = tell("byte {place} at {address:#x}: {value}", place=place, address=address + place, value=byte)
        sheet.box(20 + place * step, 96, step - 4, 28, "swapped", hover, changed)
        sheet.fit(20 + place * step, 114, step - 4, f"{byte:02x}", size=12, mono=True)
    value = int.from_bytes(data, "little")
    lowest = tell("word {value:#x}: {count} bytes, the lowest first", value=value, count=len(data))
    sheet.say(24, 138, lowest, size=10)
    _magnify(sheet, 20, 20 + step - 4, 124, 20, 20 + 8 * 44, 160)
    for bit in range(8):
        on = data[0] >> (7 - bit) & 1
        name = tell("bit {number}", number=7 - bit)
        sheet.box(20 + bit * 44, 160, 40, 28, "live" if on else "free", name)
        sheet.fit(20 + bit * 44, 179, 40, str(on), size=12, mono=True)
        sheet.fit(20 + bit * 44, 202, 40, name, size=9)
    sheet.say(24, 224, tell("byte {value:#04x} = {value}: 8 bits, the highest first", value=data[0]), size=10)
    return sheet.svg()


def _magnify(
    sheet: Canvas, left: float, right: float, y: float, wider_left: float, wider_right: float, below: float
) -> None:
    sheet.line(left, y, wider_left, below, faint=True)
    sheet.line(right, y, wider_right, below, faint=True)


_ROW_BYTES = 16
_CELL = 38


def layout(view: LayoutView, before: LayoutView | None = None, language: str = "en") -> str:
    """A structure byte by byte, 16 a row: members in their colours, and what is padding. Members that lie
    elsewhere than in `before` (another order of the same members) are framed."""
    rows, tell = max(-(-view.size // _ROW_BYTES), 1), in_language(language)
    title = tell("{name}: {size} bytes, {padding} of them padding, alignment {alignment}", name=view.name,
                 size=view.size, padding=sum(size for _, size in view.holes), alignment=view.alignment)  # fmt: skip
    sheet = Canvas(70 + _ROW_BYTES * _CELL, 92 + rows * 34, title, _described(view, tell), tell)
    for column in range(_ROW_BYTES):
        sheet.say(54 + column * _CELL + _CELL / 2, 40, f"+{column}", size=9, anchor="middle", faint=True)
    for row in range(rows):
        sheet.say(46, 62 + row * 34, str(row * _ROW_BYTES), size=10, anchor="end", mono=True, faint=True)
        if row and row * _ROW_BYTES % view.cache_line == 0:
            sheet.line(50, 43 + row * 34, 58 + _ROW_BYTES * _CELL, 43 + row * 34)
    old = {member.name: (member.offset, member.bits) for member in before.members} if before else {}
    for offset, size in view.holes:
        hover = tell("{size} bytes of padding at {offset}", size=size, offset=offset)
        _run(sheet, offset, size, "padding", "", hover, False)
    for place, member in enumerate(view.members):
        changed = before is not None and old.get(member.name) != (member.offset, member.bits)
        _member(sheet, member, ("live", "tcache")[place % 2], changed)
    legend = {"live": tell("a member"), "tcache": tell("the next"), "padding": tell("padding")}
    sheet.legend(54, 74 + rows * 34, legend)
    if view.size > view.cache_line:
        lines = tell("a line every {count} bytes: the cache lines", count=view.cache_line)
        sheet.say(300, 74 + rows * 34, lines, size=10, faint=True)
    return sheet.svg()


def _member(sheet: Canvas, member: Member, kind: str, changed: bool) -> None:
    if member.bits is None:
        hover = sheet.tell("{member}: {size} bytes at {offset}", member=member.declared, size=member.size,
                           offset=member.offset)  # fmt: skip
        _run(sheet, member.offset, member.size, kind, member.name, hover, changed)
        return
    first, count = member.bits
    x, y = 54 + first / 8 % _ROW_BYTES * _CELL, 46 + first // 8 // _ROW_BYTES * 34
    wide = min(count / 8 * _CELL, 54 + _ROW_BYTES * _CELL - x)
    hover = sheet.tell("{member}: {count} bits from bit {first} on", member=member.declared, count=count, first=first)
    sheet.box(x, y, wide - 1, 28, kind, hover, changed)
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


def _described(view: LayoutView, tell: Tell) -> str:
    members = (tell("{what} at {offset}", what=member.declared, offset=member.offset) for member in view.members)
    holes = ", ".join(tell("{what} at {offset}", what=size, offset=offset) for offset, size in view.holes)
    return f"{', '.join(members)}; {tell('padding: {holes}', holes=holes or tell('none'))}"
