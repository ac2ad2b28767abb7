# SPDX-License-Identifier: LGPL-2.1-or-later
"""The heap as glibc sees it: chunks to scale, and the free lists that lead through them."""

from __future__ import annotations

from itertools import pairwise

from memtwin.languages import Tell
from memtwin.pictures.canvas import Canvas, hex_short, text_width
from memtwin.pictures.words import arena_name, in_language, list_name
from memtwin.units import format_size
from memtwin.views import Chunk, FreeList, HeapView, list_state

_STATES = {"live": "in use", "tcache": "cached (tcache)", "fastbin": "fast bin", "bin": "free", "top": "top",
           "mmapped": "own mapping", "fence": "fence"}  # fmt: skip
_WIDTH, _LEFT, _TOP = 900, 20, 78
MOST_CHUNKS = 400
_MOST_LISTS = 14  # names above the strip


def heap_strip(view: HeapView, before: HeapView | None = None, language: str = "en") -> str:
    """The heap from low (left) to high: chunks with dark headers, and an arrow from each free chunk to the next on its
    list. Widths grow with the square root of the size, so that 32 bytes can be seen beside 100,000; the thin strip
    below is to scale. Chunks that are new or changed since `before` are framed."""
    chunks, tell = view.chunks[:MOST_CHUNKS], in_language(language)
    sheet = Canvas(_WIDTH + 40, 200, _title(view, tell), _described(view, tell), tell)
    known = {(chunk.address, chunk.size, chunk.state) for chunk in before.chunks} if before else None
    middle: dict[int, float] = {}
    x = float(_LEFT)
    for chunk, width in zip(chunks, _widths(chunks), strict=True):
        changed = known is not None and (chunk.address, chunk.size, chunk.state) not in known
        _chunk(sheet, chunk, x, width, changed)
        middle[chunk.address] = x + width / 2
        x += width
    _lists(sheet, view.lists, middle)
    _to_scale(sheet, chunks)
    present = {chunk.state for chunk in chunks}
    if not chunks:
        sheet.say(_LEFT, 96, tell("The heap is empty: nothing was allocated yet."), faint=True)
    states = {state: tell(name) for state, name in _STATES.items() if state in present}
    sheet.legend(_LEFT, 190, {"header": tell("header"), **states})
    return sheet.svg()


def _widths(chunks: tuple[Chunk, ...]) -> list[float]:
    """Widths that add up to the strip, as the square roots of the sizes."""
    weights = [max(chunk.size, 1) ** 0.5 for chunk in chunks]
    total = sum(weights) or 1
    return [_WIDTH * weight / total for weight in weights]


def _chunk(sheet: Canvas, chunk: Chunk, x: float, width: float, changed: bool) -> None:
    sheet.box(x, _TOP, width, 46, chunk.state, _hover(chunk, sheet.tell), changed, key=f"{chunk.pointer:#x}")
    if width > 12:
        sheet.box(x + 1, _TOP + 1, 4, 44, "header", sheet.tell("header of {address:#x}", address=chunk.address))
    room = width - 6
    sheet.fit(x + 5, _TOP + 20, room, _label(chunk, sheet.tell), size=11, weight="600")
    sheet.fit(x + 5, _TOP + (36 if chunk.label else 28), room, format_size(chunk.size))
    if width > text_width(hex_short(chunk.address), 9, True) + 4:
        sheet.say(x, _TOP + 58, hex_short(chunk.address), size=9, mono=True, faint=True)


def _lists(sheet: Canvas, lists: tuple[FreeList, ...], middle: dict[int, float]) -> None:
    """Names and arrows; a name that would run into another stands a line higher."""
    ends = [float("-inf")] * 3
    for free_list in lists[:_MOST_LISTS]:
        places = [middle[address] for address in free_list.chunks if address in middle]
        if not places:
            continue
        name = list_name(free_list.name, sheet.tell)
        half = text_width(name, 9) / 2 + 4
        at = max(places[0], _LEFT + half)
        line = next((line for line in range(3) if at - half > ends[line]), 2)
        ends[line] = at + half
        sheet.say(at, 58 - 11 * line, name, size=9, anchor="middle", faint=True)
        sheet.arrow(places[0], 61, places[0], _TOP - 2)
        for here, there in pairwise(places):
            sheet.arrow(here, _TOP - 2, there, _TOP - 2, bend=9)


def _to_scale(sheet: Canvas, chunks: tuple[Chunk, ...]) -> None:
    total = sum(chunk.size for chunk in chunks)
    x = float(_LEFT)
    for chunk in chunks:
        width = _WIDTH * chunk.size / total
        sheet.box(x, _TOP + 72, max(width, 0.6), 12, chunk.state, _hover(chunk, sheet.tell))
        x += width
    if chunks:
        start = chunks[0].address
        scale = sheet.tell("to scale: {size} from {address:#x} on", size=format_size(total), address=start)
        sheet.say(_LEFT, _TOP + 96, scale, size=9, faint=True)


def _label(chunk: Chunk, tell: Tell) -> str:
    """A script's own name for a block, or what the top is called."""
    return tell("top") if chunk.label and chunk.state == "top" else chunk.label


def _hover(chunk: Chunk, tell: Tell) -> str:
    where = tell(" on {list}", list=list_name(chunk.list, tell)) if chunk.list else ""
    name = f"{_label(chunk, tell)}: " if chunk.label else ""
    said = tell("chunk {address:#x}, {size} bytes, {state}", address=chunk.address, size=chunk.size,
                state=tell(_STATES[chunk.state]))  # fmt: skip
    return f"{name}{said}{where}"


def _title(view: HeapView, tell: Tell) -> str:
    shown, there = min(len(view.chunks), MOST_CHUNKS), len(view.chunks) + view.left_out
    more = tell(", {shown} of its {count} chunks", shown=shown, count=there) if there > shown else ""
    size = format_size(view.end - view.start)
    return tell("Heap of the {arena} arena, {size}", arena=arena_name(view.arena, tell), size=size) + more


def _described(view: HeapView, tell: Tell) -> str:
    sums: dict[str, int] = {}
    for chunk in view.chunks:
        sums[chunk.state] = sums.get(chunk.state, 0) + chunk.size
    return ", ".join(f"{tell(_STATES[state])} {format_size(size)}" for state, size in sums.items())


_MOST_IN_ROW, _MOST_ROWS = 8, 24


def bins(view: HeapView, before: HeapView | None = None, language: str = "en") -> str:
    """The free lists, one a row, from the head of each: tcache, fast bins, unsorted, small and large bins. Lists that
    changed since `before` are framed; where there are many lists, those are among the ones that are shown."""
    tell = in_language(language)
    known = {row.name: row.chunks for row in before.lists} if before else None
    rows = [free_list for free_list in view.lists if free_list.chunks]
    there, rows = len(rows), _some(rows, known)
    longest = max((min(len(row.chunks), _MOST_IN_ROW + 1) for row in rows), default=0)
    title = tell("Free lists of the {arena} arena", arena=arena_name(view.arena, tell))
    title += tell(", {shown} of {count}", shown=len(rows), count=there) if there > len(rows) else ""
    described = (tell("{name}: {count} chunks", name=list_name(r.name, tell), count=len(r.chunks)) for r in rows)
    sheet = Canvas(max(150 + 98 * longest, 320), 46 + 28 * max(len(rows), 1), title, "; ".join(described), tell)
    chunks = {chunk.address: chunk for chunk in view.chunks}
    if not rows:
        sheet.say(20, 50, tell("All free lists are empty."), faint=True)
    for place, row in enumerate(rows):
        y = 32 + 28 * place
        same = known is None or known.get(row.name) == row.chunks
        old = None if known is None or same else set(known.get(row.name, ()))
        sheet.say(124, y + 15, list_name(row.name, tell), size=11, anchor="end", mono=True)
        for column, address in enumerate(row.chunks[:_MOST_IN_ROW]):
            changed = old is not None and address not in old
            _listed(sheet, row.name, address, chunks.get(address), 150 + 98 * column, y, changed)
        if len(row.chunks) > _MOST_IN_ROW:
            more = tell("and {count} more", count=len(row.chunks) - _MOST_IN_ROW)
            sheet.say(150 + 98 * _MOST_IN_ROW, y + 14, more, size=10, faint=True)
    return sheet.svg()


def _some(rows: list[FreeList], known: dict[str, tuple[int, ...]] | None) -> list[FreeList]:
    """At most _MOST_ROWS of the rows, in their order: those that changed before others."""
    if len(rows) <= _MOST_ROWS:
        return rows
    same = {row.name for row in rows if known is None or known.get(row.name) == row.chunks}
    chosen = {row.name for row in sorted(rows, key=lambda row: row.name in same)[:_MOST_ROWS]}
    return [row for row in rows if row.name in chosen]


def _listed(sheet: Canvas, name: str, address: int, chunk: Chunk | None, x: float, y: float, changed: bool) -> None:
    tell = sheet.tell
    elsewhere = tell("chunk {address:#x} on {list}", address=address, list=list_name(name, tell))
    hover = _hover(chunk, tell) if chunk else elsewhere
    sheet.box(x, y, 80, 20, list_state(name), hover, changed, key=f"{chunk.pointer if chunk else address:#x}")
    sheet.fit(x, y + 14, 80, hex_short(address), size=9, mono=True)
    sheet.arrow(x - 18, y + 10, x - 1, y + 10)


def tcache(view: HeapView, before: HeapView | None = None, language: str = "en") -> str:
    """Only the tcache's lists."""
    return bins(_only_tcache(view), _only_tcache(before) if before else None, language)


def _only_tcache(view: HeapView) -> HeapView:
    lists = tuple(row for row in view.lists if row.name.startswith("tcache"))
    return HeapView(view.start, view.end, view.chunks, lists, f"{view.arena} (tcache)", view.left_out)
