# SPDX-License-Identifier: LGPL-2.1-or-later
"""The first event whose address is not the recorded one, told so that the rule behind it can be found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtwin.replay.marks import chain, word, words
from memtwin.replay.result import Mismatch
from memtwin.replay.twin import Twin
from memtwin.trace.schema import Op

if TYPE_CHECKING:
    from memtwin.trace.reader import Columns

AV_FASTBINS, NFASTBINS, NBINS = 16, 10, 128
_LAST = 10
_SHOWN = 6  # addresses of a list
_LINKS = 10_000


def describe(twin: Twin, columns: Columns, row: int) -> Mismatch:
    """The mismatch of the event in `row`, which has just been played."""
    player = twin.player
    return Mismatch(
        event=player.mismatch_event,
        operation=event_text(columns, row),
        recorded=player.mismatch_recorded,
        twin=player.mismatch_twin,
        state=tuple(state_of(twin)),
        last_events=tuple(event_text(columns, i) for i in range(max(0, row - _LAST), row)),
    )


def event_text(columns: Columns, row: int) -> str:
    """ "1234 thread 77: malloc(24) = 0x55…"."""
    op = Op(columns.op[row])
    size, pointer, argument, result = (
        int(column[row]) for column in (columns.size, columns.pointer, columns.argument, columns.result)
    )
    name = op.name.lower()
    arguments = {
        Op.MALLOC: f"{size}",
        Op.CALLOC: f"{size}, {argument}",
        Op.REALLOC: f"{pointer:#x}, {size}",
        Op.REALLOCARRAY: f"{pointer:#x}, {size}, {argument}",
        Op.FREE: f"{pointer:#x}",
    }.get(op, ", ".join(f"{value:#x}" for value in (size, pointer, argument) if value))
    answer = "" if op == Op.FREE else f" = {result:#x}"
    return f"{columns.start + row} thread {columns.thread[row]}: {name}({arguments}){answer}"


def state_of(twin: Twin) -> list[str]:
    """The current thread's cache and arena, a line for everything in them that is not empty; parameters that moved."""
    malloc = twin.malloc
    arena = malloc.thread_arena or malloc.main_arena
    top = word(twin.space, arena + malloc.av_top)
    lines = [
        f"arena {arena:#x}{' (main)' if arena == malloc.main_arena else ''}, top {top:#x}, "
        f"break {twin.space.brk_end:#x}, mmap_threshold {malloc.mmap_threshold}, trim_threshold {malloc.trim_threshold}"
    ]
    if malloc.abort:
        lines.append(f"stopped: {malloc.abort}")
    return lines + _cache_lines(twin) + _fast_lines(twin, arena) + _bin_lines(twin, arena)


def _listed(addresses: list[int]) -> str:
    shown = " ".join(f"{address:#x}" for address in addresses[:_SHOWN])
    return shown + (f" … ({len(addresses)})" if len(addresses) > _SHOWN else "")


def _cache_lines(twin: Twin) -> list[str]:
    cache = twin.malloc.tcache
    if not cache:
        return ["tcache: none"]
    heads = words(twin.space, cache + twin.malloc.tcache_entries, twin.malloc.tcache_all_bins)
    return [
        f"tcache {32 + 16 * index}: {_listed(chain(twin.malloc, head, 0))}" for index, head in enumerate(heads) if head
    ]


def _fast_lines(twin: Twin, arena: int) -> list[str]:
    if twin.malloc.no_fastbins:
        return []
    heads = words(twin.space, arena + AV_FASTBINS, NFASTBINS)
    return [
        f"fast bin {32 + 16 * index}: {_listed(chain(twin.malloc, head, 16))}"
        for index, head in enumerate(heads)
        if head
    ]


def _bin_lines(twin: Twin, arena: int) -> list[str]:
    lines = []
    for index in range(1, NBINS):
        at = arena + twin.malloc.av_bins - 16 + 16 * (index - 1)
        chunks: list[tuple[int, int]] = []
        chunk = word(twin.space, at + 16)
        while chunk not in (at, 0) and len(chunks) < _LINKS:
            chunks.append((chunk, word(twin.space, chunk + 8) & ~7))
            chunk = word(twin.space, chunk + 16)
        if chunks:
            name = "unsorted" if index == 1 else f"small bin {index}" if index < 64 else f"large bin {index}"
            shown = " ".join(f"{address:#x}+{size:#x}" for address, size in chunks[:_SHOWN])
            lines.append(f"{name}: {shown}" + (f" … ({len(chunks)})" if len(chunks) > _SHOWN else ""))
    return lines
