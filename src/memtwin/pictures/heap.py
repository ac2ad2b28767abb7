# SPDX-License-Identifier: LGPL-2.1-or-later
"""The heap as glibc sees it: chunks to scale, and the free lists that lead through them."""

from __future__ import annotations

from itertools import pairwise

from memtwin.pictures.canvas import Canvas, hex_short, text_width
from memtwin.units import format_size
from memtwin.views import Chunk, FreeList, HeapView, list_state

_STATES = {"live": "in use", "tcache": "cached (tcache)", "fastbin": "fast bin", "bin": "free", "top": "top",
           "mmapped": "own mapping", "fence": "fence"}  # fmt: skip
_WIDTH, _LEFT, _TOP = 900, 20, 78
MOST_CHUNKS = 400
_MOST_LISTS = 14  # names above the strip


def heap_strip(view: HeapView, before: HeapView | None = None) -> str:
    """The heap from low (left) to high: chunks with dark headers, and an arrow from each free chunk to the next on its
    list. Widths grow with the square root of the size, so that 32 bytes can be seen beside 100,000; the thin strip
    below is to scale. Chunks that are new or changed since `before` are framed."""
    chunks = view.chunks[:MOST_CHUNKS]
    sheet = Canvas(_WIDTH + 40, 200, _title(view), _described(view))
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
        sheet.say(_LEFT, 96, "The heap is empty: nothing was allocated yet.", faint=True)
    sheet.legend(_LEFT, 190, {"header": "header", **{s: name for s, name in _STATES.items() if s in present}})
    return sheet.svg()


def _widths(chunks: tuple[Chunk, ...]) -> list[float]:
    """Widths that add up to the strip, as the square roots of the sizes."""
    weights = [max(chunk.size, 1) ** 0.5 for chunk in chunks]
    total = sum(weights) or 1
    return [_WIDTH * weight / total for weight in weights]


def _chunk(sheet: Canvas, chunk: Chunk, x: float, width: float, changed: bool) -> None:
    sheet.box(x, _TOP, width, 46, chunk.state, _hover(chunk), changed, key=f"{chunk.pointer:#x}")
    if width > 12:
        sheet.box(x + 1, _TOP + 1, 4, 44, "header", f"header of {chunk.address:#x}")
    room = width - 6
    sheet.fit(x + 5, _TOP + 20, room, chunk.label, size=11, weight="600")
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
        half = text_width(free_list.name, 9) / 2 + 4
        at = max(places[0], _LEFT + half)
        line = next((line for line in range(3) if at - half > ends[line]), 2)
        ends[line] = at + half
        sheet.say(at, 58 - 11 * line, free_list.name, size=9, anchor="middle", faint=True)
        sheet.arrow(places[0], 61, places[0], _TOP - 2)
        for here, there in pairwise(places):
            sheet.arrow(here, _TOP - 2, there, _TOP - 2, bend=9)


def _to_scale(sheet: Canvas, chunks: tuple[Chunk, ...]) -> None:
    total = sum(chunk.size for chunk in chunks)
    x = float(_LEFT)
    for chunk in chunks:
        width = _WIDTH * chunk.size / total
        sheet.box(x, _TOP + 72, max(width, 0.6), 12, chunk.state, _hover(chunk))
        x += width
    if chunks:
        sheet.say(
            _LEFT, _TOP + 96, f"to scale: {format_size(total)} from {chunks[0].address:#x} on", size=9, faint=True
        )


def _hover(chunk: Chunk) -> str:
    where = f" on {chunk.list}" if chunk.list else ""
    name = f"{chunk.label}: " if chunk.label else ""
    return f"{name}chunk {chunk.address:#x}, {chunk.size} bytes, {_STATES[chunk.state]}{where}"


def _title(view: HeapView) -> str:
    shown, there = min(len(view.chunks), MOST_CHUNKS), len(view.chunks) + view.left_out
    more = f", {shown} of its {there} chunks" if there > shown else ""
    return f"Heap of the {view.arena} arena, {format_size(view.end - view.start)}{more}"


def _described(view: HeapView) -> str:
    sums: dict[str, int] = {}
    for chunk in view.chunks:
        sums[chunk.state] = sums.get(chunk.state, 0) + chunk.size
    return ", ".join(f"{_STATES[state]} {format_size(size)}" for state, size in sums.items())


_MOST_IN_ROW, _MOST_ROWS = 8, 24


def bins(view: HeapView, before: HeapView | None = None) -> str:
    """The free lists, one a row, from the head of each: tcache, fast bins, unsorted, small and large bins. Lists that
    changed since `before` are framed; where there are many lists, those are among the ones that are shown."""
    known = {row.name: row.chunks for row in before.lists} if before else None
    rows = [free_list for free_list in view.lists if free_list.chunks]
    there, rows = len(rows), _some(rows, known)
    longest = max((min(len(row.chunks), _MOST_IN_ROW + 1) for row in rows), default=0)
    title = f"Free lists of the {view.arena} arena" + (f", {len(rows)} of {there}" if there > len(rows) else "")
    sheet = Canvas(max(150 + 98 * longest, 320), 46 + 28 * max(len(rows), 1), title,
                   "; ".join(f"{row.name}: {len(row.chunks)} chunks" for row in rows))  # fmt: skip
    chunks = {chunk.address: chunk for chunk in view.chunks}
    if not rows:
        sheet.say(20, 50, "All free lists are empty.", faint=True)
    for place, row in enumerate(rows):
        y = 32 + 28 * place
        old = None if known is None else set(known.get(row.name, ()))
        sheet.say(124, y + 15, row.name, size=11, anchor="end", mono=True)
        for column, address in enumerate(row.chunks[:_MOST_IN_ROW]):
            changed = old is not None and address not in old
            _listed(sheet, row.name, address, chunks.get(address), 150 + 98 * column, y, changed)
        if len(row.chunks) > _MOST_IN_ROW:
            sheet.say(
                150 + 98 * _MOST_IN_ROW, y + 14, f"and {len(row.chunks) - _MOST_IN_ROW} more", size=10, faint=True
            )
    return sheet.svg()


def _some(rows: list[FreeList], known: dict[str, tuple[int, ...]] | None) -> list[FreeList]:
    """At most _MOST_ROWS of the rows, in their order: those that changed before others."""
    if len(rows) <= _MOST_ROWS:
        return rows
    same = {row.name for row in rows if known is None or known.get(row.name) == row.chunks}
    chosen = {row.name for row in sorted(rows, key=lambda row: row.name in same)[:_MOST_ROWS]}
    return [row for row in rows if row.name in chosen]


def _listed(sheet: Canvas, name: str, address: int, chunk: Chunk | None, x: float, y: float, changed: bool) -> None:
    hover = _hover(chunk) if chunk else f"chunk {address:#x} on {name}"
    sheet.box(x, y, 80, 20, list_state(name), hover, changed, key=f"{chunk.pointer if chunk else address:#x}")
    sheet.fit(x, y + 14, 80, hex_short(address), size=9, mono=True)
    sheet.arrow(x - 18, y + 10, x - 1, y + 10)


def tcache(view: HeapView, before: HeapView | None = None) -> str:
    """Only the tcache's lists."""
    return bins(_only_tcache(view), _only_tcache(before) if before else None)


def _only_tcache(view: HeapView) -> HeapView:
    lists = tuple(row for row in view.lists if row.name.startswith("tcache"))
    return HeapView(view.start, view.end, view.chunks, lists, f"{view.arena} (tcache)", view.left_out)
