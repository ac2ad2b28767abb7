# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a sequence is made of: operations that mean the same on the twin and on the host, and what each came to.

As text an operation is one line, `process name arguments`, numbers in any of Python's notations, `#` begins a comment:

    0 mmap 0x0 0x3000 3 0x22 none 0x0     # address length prot flags file offset
    0 store 0x7ffff7ff4000 3 4096 7       # address times stride byte
    0 fork 1                              # the child becomes process 1
    1 load 0x7ffff7ff4000 3 4096          # address times stride
    1 touch_write 0x7ffff7ff4000 3        # address pages
    0 exit 1                              # process 1 ends, process 0 waits for it

A file is named by what it is: see FILES. Addresses are absolute: without address randomisation the same lines come to
the same addresses on the host every time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from memtwin.errors import UserError

# memfd: tmpfs, empty pages. file: on disk, opened read-write. readonly, writeonly: that same file. zero: /dev/zero.
# directory, pipe: what cannot be mapped. closed: a descriptor that is not open.
FILES = ("memfd", "file", "readonly", "writeonly", "zero", "directory", "pipe", "closed")
NO_FILE = -1
MADV_HWPOISON, MADV_SOFT_OFFLINE = 100, 101

# name -> how many arguments. What is not a system call: touches, fork, exit.
ARGUMENTS = {
    "mmap": 6, "munmap": 2, "mprotect": 3, "mremap": 5, "brk": 1, "madvise": 3, "mlock": 2, "mlock2": 3, "munlock": 2,
    "mlockall": 1, "munlockall": 0, "mincore": 2, "msync": 3,
    "load": 3, "store": 4, "touch_read": 2, "touch_write": 2, "fork": 1, "exit": 1, "nothing": 0,
}  # fmt: skip
TOUCHES = frozenset(("load", "store", "touch_read", "touch_write"))
_FILE_ARGUMENT = {"mmap": 4}
_PLAIN = {("mmap", 2), ("mprotect", 2), ("madvise", 2)}  # numbers that read better in decimal


class Operation(NamedTuple):
    """One step: `process` performs `name` with `arguments`, all of them int (a file is its index in FILES)."""

    process: int
    name: str
    arguments: tuple[int, ...]

    def __str__(self) -> str:
        place = _FILE_ARGUMENT.get(self.name)
        words = [
            _file_name(value) if i == place else _number(self.name, i, value) for i, value in enumerate(self.arguments)
        ]
        return " ".join((str(self.process), self.name, *words))


class Outcome(NamedTuple):
    """What an operation came to; the same fields for twin and host, compared one by one.

    result: the system call's, -errno included; of a touch, how many accesses went through; of fork and exit, 0.
    signal, code, address: what stopped a touch. value: the bytes that `load` saw, chained. data: what the call stored
    (mincore's vector). maps: /proc/PID/maps of the process afterwards.
    """

    result: int
    minflt: int = 0
    majflt: int = 0
    signal: int = 0
    code: int = 0
    address: int = 0
    value: int = 0
    data: bytes = b""
    maps: bytes = b""


def _file_name(value: int) -> str:
    return "none" if value == NO_FILE else FILES[value]


def _number(name: str, place: int, value: int) -> str:
    return str(value) if (name, place) in _PLAIN or 0 <= value < 10 else hex(value)


def format_script(operations: Iterable[Operation], comments: Iterable[str] = ()) -> str:
    """The operations as text that `parse_script` reads; comments stand above them."""
    lines = [f"# {line}" for line in comments] + [str(operation) for operation in operations]
    return "\n".join(lines) + "\n"


def parse_script(text: str) -> list[Operation]:
    """Read operations from text. UserError names the line that is not one."""
    operations = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#", 1)[0].split()
        if words:
            operations.append(_parse_line(number, words))
    return operations


def _parse_line(number: int, words: list[str]) -> Operation:
    if len(words) < 2 or words[1] not in ARGUMENTS:
        raise UserError(f"line {number}: {' '.join(words)!r} is no operation: write PROCESS NAME ARGUMENTS")
    process, name, *rest = words
    if len(rest) != ARGUMENTS[name]:
        raise UserError(f"line {number}: {name} takes {ARGUMENTS[name]} arguments, here are {len(rest)}")
    try:
        place = _FILE_ARGUMENT.get(name)
        arguments = [_parse_file(word) if i == place else int(word, 0) for i, word in enumerate(rest)]
        operation = Operation(int(process), name, tuple(arguments))
    except ValueError as error:
        raise UserError(f"line {number}: {error}") from None
    if name == "madvise" and operation.arguments[2] in (MADV_HWPOISON, MADV_SOFT_OFFLINE):
        raise UserError(f"line {number}: madvise {rest[2]} would take real memory from the host: leave it out")
    if not 0 <= operation.process < 8:
        raise UserError(f"line {number}: process {operation.process}: there are processes 0 to 7")
    return operation


def _parse_file(word: str) -> int:
    if word == "none":
        return NO_FILE
    if word not in FILES:
        raise ValueError(f"{word!r} is no file: it is none, {', '.join(FILES)}")
    return FILES.index(word)
