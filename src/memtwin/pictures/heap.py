# SPDX-License-Identifier: LGPL-2.1-or-later
"""The heap as glibc sees it: chunks to scale, and the free lists that lead through them."""

from __future__ import annotations

from itertools import pairwise

from memtwin.pictures.canvas import Canvas, hex_short
from memtwin.units import format_size
from memtwin.views import Chunk, FreeList, HeapView

_STATES = {"live": "live", "tcache": "cached (tcache)", "fastbin": "fast bin", "bin": "free", "top": "top",
           "mmapped": "own mapping", "fence": "fence"}  # fmt: skip
_WIDTH, _HEADER = 900, 16
MOST_CHUNKS = 400


def heap_strip(view: HeapView, before: HeapView | None = None) -> str:
    """The heap from low (left) to high, chunks to scale as far as they can still be seen, headers dark, and an arrow
    from each free chunk to the next on its list. Chunks that are new or changed since `before` are framed."""
    chunks = view.chunks[:MOST_CHUNKS]
    widths = _widths(chunks)
    sheet = Canvas(_WIDTH + 40, 170, _title(view), _described(view))
    known = {(chunk.address, chunk.size, chunk.state) for chunk in before.chunks} if before else None
    middle: dict[int, float] = {}
    x = 20.0
    for chunk, width in zip(chunks, widths, strict=True):
        changed = known is not None and (chunk.address, chunk.size, chunk.state) not in known
        sheet.box(x, 70, width, 46, chunk.state, _hover(chunk), changed, key=f"{chunk.pointer:#x}")
        if width > 12:
            sheet.box(x, 70, 4, 46, "header", f"header of {chunk.address:#x}")
        _label(sheet, chunk, x, width)
        middle[chunk.address] = x + width / 2
        x += width
    for free_list in view.lists:
        _arrows(sheet, free_list, middle)
    present = {chunk.state for chunk in chunks}
    sheet.legend(20, 158, {state: name for state, name in _STATES.items() if state in present})
    return sheet.svg()


def _widths(chunks: tuple[Chunk, ...]) -> list[float]:
    """Widths that add up to the strip: as the square root of the size, so that 32 bytes show beside 100,000."""
    weights = [max(chunk.size, 1) ** 0.5 for chunk in chunks]
    total = sum(weights) or 1
    return [_WIDTH * weight / total for weight in weights]


def _label(sheet: Canvas, chunk: Chunk, x: float, width: float) -> None:
    words = chunk.label or (format_size(chunk.size) if width > 44 else "")
    if words and width > 6.5 * len(words):
        sheet.say(x + width / 2 + 2, 92, words, anchor="middle", size=11, weight="600" if chunk.label else "400")
    if chunk.label and width > 50:
        sheet.say(x + width / 2 + 2, 107, format_size(chunk.size), anchor="middle", size=10)
    if width > 64:
        sheet.say(x + 2, 130, hex_short(chunk.address), size=9, mono=True, faint=True)


def _arrows(sheet: Canvas, free_list: FreeList, middle: dict[int, float]) -> None:
    places = [middle[address] for address in free_list.chunks if address in middle]
    if places:
        sheet.say(places[0], 40, free_list.name, size=9, anchor="middle", faint=True)
        sheet.arrow(places[0], 44, places[0], 68)
    for here, there in pairwise(places):
        sheet.arrow(here, 68, there, 68, bend=12)


def _hover(chunk: Chunk) -> str:
    where = f" on {chunk.list}" if chunk.list else ""
    name = f"{chunk.label}: " if chunk.label else ""
    return f"{name}chunk {chunk.address:#x}, {chunk.size} bytes, {_STATES[chunk.state]}{where}"


def _title(view: HeapView) -> str:
    left = len(view.chunks) - MOST_CHUNKS
    more = f", {left} more chunks" if left > 0 else ""
    return f"Heap of the {view.arena} arena, {format_size(view.end - view.start)}{more}"


def _described(view: HeapView) -> str:
    sums: dict[str, int] = {}
    for chunk in view.chunks:
        sums[chunk.state] = sums.get(chunk.state, 0) + chunk.size
    return ", ".join(f"{_STATES[state]} {format_size(size)}" for state, size in sums.items())


def bins(view: HeapView, before: HeapView | None = None) -> str:
    """The free lists, one a row, from the head of each: tcache, fast bins, unsorted, small and large bins."""
    rows = [free_list for free_list in view.lists if free_list.chunks]
    sheet = Canvas(900, 56 + 28 * max(len(rows), 1), f"Free lists of the {view.arena} arena",
                   "; ".join(f"{row.name}: {len(row.chunks)} chunks" for row in rows))  # fmt: skip
    sizes = {chunk.address: chunk for chunk in view.chunks}
    known = {(row.name, row.chunks) for row in before.lists} if before else None
    if not rows:
        sheet.say(20, 50, "All free lists are empty.", faint=True)
    for place, row in enumerate(rows):
        y = 32 + 28 * place
        changed = known is not None and (row.name, row.chunks) not in known
        sheet.say(130, y + 15, row.name, size=11, anchor="end", mono=True)
        for column, address in enumerate(row.chunks[:8]):
            x = 160 + 92 * column
            chunk = sizes.get(address)
            state, hover = (chunk.state, _hover(chunk)) if chunk else ("bin", f"{address:#x}")
            sheet.box(x, y, 76, 20, state, hover, changed, key=f"{address + 16:#x}")
            sheet.say(x + 38, y + 14, hex_short(address), size=9, anchor="middle", mono=True)
            sheet.arrow(x - 16, y + 10, x - 1, y + 10)
        if len(row.chunks) > 8:
            sheet.say(160 + 92 * 8, y + 14, f"and {len(row.chunks) - 8} more", size=10, faint=True)
    return sheet.svg()


def tcache(view: HeapView, before: HeapView | None = None) -> str:
    """Only the tcache's lists."""
    return bins(_only_tcache(view), _only_tcache(before) if before else None)


def _only_tcache(view: HeapView) -> HeapView:
    lists = tuple(row for row in view.lists if row.name.startswith("tcache"))
    return HeapView(view.start, view.end, view.chunks, lists, f"{view.arena} (tcache)")
