# SPDX-License-Identifier: LGPL-2.1-or-later
"""Columns of allocator operations as text that one can read, edit and replay.

    # anything after a hash
    libc 2.36
    environment GLIBC_TUNABLES=glibc.malloc.tcache_count=0
    p0 = malloc(24)
    thread 1: p3 = calloc(10, 300)
    free(p0)
    stop

One line an operation, in the form of the table below; `thread N:` stands before those that another thread than the
first performs. A number is decimal, negative or hexadecimal. What each does is told in host/player.c's perform.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from memtwin.errors import UserError
from memtwin.host.libcs import SOURCES
from memtwin.host.player import OPERATION, Play
from memtwin.trace.schema import Op

# One form an operation; the fields in braces are numbers, `slot` and `other` slots. `high` and `low` are the upper and
# lower 32 bits of `argument`, `top` its upper 16 and `offset` its lower 48.
FORMS: dict[tuple[int, int], str] = {
    (Op.MALLOC, 0): "{slot} = malloc({size})",
    (Op.CALLOC, 0): "{slot} = calloc({size}, {argument})",
    (Op.REALLOC, 0): "{slot} = realloc({slot}, {size})",
    (Op.REALLOCARRAY, 0): "{slot} = reallocarray({slot}, {size}, {argument})",
    (Op.FREE, 0): "free({slot})",
    (Op.FREE, 1): "free({slot}) and keep",
    (Op.MEMALIGN, 0): "{slot} = memalign({argument}, {size})",
    (Op.POSIX_MEMALIGN, 0): "posix_memalign({slot}, {argument}, {size})",
    (Op.ALIGNED_ALLOC, 0): "{slot} = aligned_alloc({argument}, {size})",
    (Op.VALLOC, 0): "{slot} = valloc({size})",
    (Op.PVALLOC, 0): "{slot} = pvalloc({size})",
    (Op.MALLOC_TRIM, 0): "malloc_trim({size})",
    (Op.MALLOPT, 0): "mallopt({high}, {low})",
    (Op.MMAP, 0): "{slot} = mmap({size}, prot {high}, flags {low})",
    (Op.MUNMAP, 0): "munmap({slot} + {argument}, {size})",
    (Op.MADVISE, 0): "madvise({slot} + {offset}, {size}, {top})",
    (Op.MPROTECT, 0): "mprotect({slot} + {offset}, {size}, {top})",
    (Op.BRK, 0): "brk({slot} + {size})",
    (Op.SBRK, 0): "{slot} = sbrk({size})",
    (Op.THREAD_START, 0): "start thread {argument}",
    (Op.THREAD_EXIT, 0): "exit thread",
    (Op.FORK, 0): "fork a child for the next {size}",
    (Play.USABLE_SIZE, 0): "malloc_usable_size({slot})",
    (Play.MALLINFO, 0): "mallinfo()",
    (Play.MALLINFO2, 0): "mallinfo2()",
    (Play.MALLOC_STATS, 0): "malloc_stats()",
    (Play.MALLOC_INFO, 0): "malloc_info({argument})",
    (Play.WRITE, -1): "memset({slot} + {argument}, {byte}, {size})",
    (Play.POKE, 0): "word at {slot} + {size} := {argument}",
    (Play.POKE_POINTER, 0): "word at {slot} + {size} := {other} + {low}",
    (Play.POKE_LINK, 0): "word at {slot} + {size} := mangled {other} + {low}",
    (Play.PEEK, 0): "word at {slot} + {size}",
    (Play.SET, 0): "{slot} := {other} + {low}",
    (Play.LIMIT, 0): "limit {size} to {argument} more",
    (Play.STOP, 0): "stop",
    (Play.MCHECK, 0): "mcheck()",
    (Play.MCHECK, 1): "mcheck_pedantic()",
    (Play.MCHECK, 2): "mcheck() and go on",
    (Play.MCHECK, 3): "mcheck_pedantic() and go on",
    (Play.MPROBE, 0): "mprobe({slot})",
    (Play.CHECK_ALL, 0): "mcheck_check_all()",
}
_SIGNED = {Op.SBRK, Op.BRK, Play.POKE, Play.POKE_POINTER, Play.POKE_LINK, Play.PEEK}  # their `size` is signed


@dataclass
class LibcScript:
    """A column with what it is to be played on."""

    operations: npt.NDArray[Any]
    libc: str = "2.36"
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def slots(self) -> int:
        """How many slots the operations name."""
        named = [int(self.operations["slot"].max())] if len(self.operations) else [0]
        others = self.operations["argument"][np.isin(self.operations["op"], _WITH_OTHER)] >> np.uint64(32)
        return 1 + max(named + [int(other) for other in others])

    def format(self) -> str:
        """The script as text; `parse_script` reads it back."""
        lines = [f"libc {self.libc}"] + [f"environment {key}={value}" for key, value in self.environment.items()]
        return "\n".join(lines + [format_operation(operation) for operation in self.operations]) + "\n"


_WITH_OTHER = (Play.POKE_POINTER, Play.POKE_LINK, Play.SET)


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


def _values(operation: Any) -> dict[str, str]:
    op, size, argument = int(operation["op"]), int(operation["size"]), int(operation["argument"])
    large = f"{argument:#x}" if argument >> 32 else str(argument)
    return {
        "slot": f"p{operation['slot']}",
        "size": str(_signed(size, 64)) if op in _SIGNED else str(size),
        "argument": large,
        "byte": str(operation["byte"]),
        "other": f"p{argument >> 32}",
        "high": str(_signed(argument >> 32, 32)),
        "low": str(_signed(argument & 0xFFFFFFFF, 32)),
        "top": str(argument >> 48),
        "offset": str(argument & 0xFFFFFFFFFFFF),
    }


def format_operation(operation: Any) -> str:
    """One line for one operation."""
    op, byte = int(operation["op"]), int(operation["byte"])
    form = FORMS.get((op, -1)) or FORMS[op, byte]
    thread = f"thread {operation['thread']}: " if operation["thread"] else ""
    return thread + form.format(**_values(operation))


def _pattern(form: str) -> re.Pattern[str]:
    seen: set[str] = set()
    parts = []
    for text, name in re.findall(r"([^{]*)(?:\{(\w+)\})?", form):
        parts.append(re.escape(text))
        if name in seen:
            parts.append(f"(?P={name})")
        elif name:
            parts.append(rf"(?P<{name}>p\d+)" if name in ("slot", "other") else rf"(?P<{name}>-?(?:0x[0-9a-f]+|\d+))")
            seen.add(name)
    return re.compile("".join(parts))


_PATTERNS = [(op, byte, _pattern(form)) for (op, byte), form in FORMS.items()]


def parse_operation(line: str) -> npt.NDArray[Any]:
    """The operation that a line tells (one element, dtype OPERATION). UserError when there is no such form."""
    row = np.zeros(1, OPERATION)
    head = re.match(r"thread (\d+): ", line)
    if head:
        row["thread"] = int(head[1])
        line = line[head.end() :]
    for op, byte, pattern in _PATTERNS:
        match = pattern.fullmatch(line)
        if match:
            row["op"], row["byte"] = op, max(byte, 0)
            _fill(row, {name: int(text.lstrip("p"), 0) for name, text in match.groupdict().items()})
            return row
    raise UserError(f"no operation has the form {line!r}: the forms are told in memtwin.verify.libc.script.py")


def _fill(row: npt.NDArray[Any], fields: dict[str, int]) -> None:
    for name in ("slot", "size", "argument", "byte"):
        if name in fields:
            row[name] = fields[name] & (2 ** (8 * row.dtype[name].itemsize) - 1)
    if "low" in fields:
        row["argument"] = (fields.get("high", fields.get("other", 0)) & 0xFFFFFFFF) << 32 | fields["low"] & 0xFFFFFFFF
    if "offset" in fields:
        row["argument"] = fields["top"] << 48 | fields["offset"]


def parse_script(text: str) -> LibcScript:
    """Read a script. UserError names the line that is none."""
    script = LibcScript(np.zeros(0, OPERATION))
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.split("#")[0].strip()
        word, _, rest = line.partition(" ")
        try:
            if word == "libc":
                script.libc = _known(rest)
            elif word == "environment":
                key, _, value = rest.partition("=")
                script.environment[key] = value
            elif line:
                rows.append(parse_operation(line))
        except (UserError, OverflowError) as error:
            raise UserError(f"line {number}: {error}") from None
    script.operations = np.concatenate(rows) if rows else script.operations
    return script


def _known(name: str) -> str:
    if name not in SOURCES:
        raise UserError(f"no libc is known as {name}: choose from {', '.join(SOURCES)}")
    return name
