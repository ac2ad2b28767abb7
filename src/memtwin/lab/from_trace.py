# SPDX-License-Identifier: LGPL-2.1-or-later
"""The first calls of a recorded trace as a script, so that the lab can step through a real program."""

from __future__ import annotations

from pathlib import Path

from memtwin.errors import UserError
from memtwin.trace.reader import open_trace
from memtwin.trace.schema import Op

MOST_CALLS = 2_000
_SIZED = {Op.MALLOC: "malloc({size})", Op.CALLOC: "calloc({size}, {argument})", Op.VALLOC: "valloc({size})",
          Op.MEMALIGN: "memalign({argument}, {size})", Op.POSIX_MEMALIGN: "memalign({argument}, {size})",
          Op.ALIGNED_ALLOC: "aligned_alloc({argument}, {size})", Op.PVALLOC: "pvalloc({size})"}  # fmt: skip


def script_of(directory: Path, calls: int = MOST_CALLS) -> str:
    """The script of the first `calls` allocator calls of the trace's first process with events.

    b[n] is the n-th block that the program got. UserError: nothing recorded there.
    """
    for image in open_trace(directory).processes:
        if not image.events:
            continue
        lines = [f"# {' '.join(image.command)[:80]}: the first {calls:,} of {image.events:,} events"]
        blocks: dict[int, int] = {}
        number = 0
        for columns in image.batches():
            rows = zip(columns.op, columns.size, columns.pointer, columns.argument, columns.result, strict=True)
            for op, size, pointer, argument, result in rows:
                line = _line(int(op), int(size), int(pointer), int(argument), int(result), blocks, number)
                if line:
                    lines.append(line)
                    number += 1
                if number >= calls:
                    return "\n".join(lines) + "\n"
        return "\n".join(lines) + "\n"
    raise UserError(f"{directory}: nothing was recorded there")


def _line(op: int, size: int, pointer: int, argument: int, result: int, blocks: dict[int, int], number: int) -> str:
    """One event as a line; "" for what is no allocator call or frees a block from before."""
    if op in _SIZED:
        blocks[result] = number
        return f"b[{number}] = {_SIZED[Op(op)].format(size=size, argument=argument)}"
    if op == Op.FREE:
        known = blocks.pop(pointer, None)
        return "" if known is None else f"free(b[{known}])"
    if op in (Op.REALLOC, Op.REALLOCARRAY):
        size = size * argument if op == Op.REALLOCARRAY else size
        known = blocks.pop(pointer, None)
        blocks[result] = number
        return f"b[{number}] = realloc({'0' if known is None else f'b[{known}]'}, {size})"
    return ""
