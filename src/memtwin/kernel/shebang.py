# SPDX-License-Identifier: LGPL-2.1-or-later
"""Scripts: what execve makes of a file that begins with "#!" (fs/binfmt_script.c, fs/exec.c).

#! /usr/bin/env  -S python3 -u      the interpreter, and the rest of the line as one argument
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence

from memtwin.errors import ExecError
from memtwin.kernel.elf import open_program

_BUFFER = 255  # bytes of the file that are looked at (BINPRM_BUF_SIZE - 1)
_MOST_LEVELS = 5  # interpreters that are scripts themselves


def follow(path: str, argv: Sequence[str | bytes]) -> tuple[str, list[str | bytes]]:
    """The program that is started for `path`, and its arguments: for a script its interpreter's, else the same.

    ExecError: ENOEXEC for a first line that names no interpreter, ELOOP for scripts on scripts without end.
    """
    words = list(argv)
    for _ in range(_MOST_LEVELS + 1):
        named = interpreter_of(path)
        if named is None:
            return path, words
        interpreter, argument = named
        words = [interpreter, *([argument] if argument is not None else []), path, *words[1:]]
        path = interpreter
    raise ExecError(path, errno.ELOOP, f"more than {_MOST_LEVELS} scripts interpret each other")


def interpreter_of(path: str) -> tuple[str, str | None] | None:
    """The interpreter and its argument, if there is one, that a script's first line names; None: it is no script."""
    with open_program(path) as file:
        head = file.read(_BUFFER)
    if head[:2] != b"#!":
        return None
    line, newline, _ = head[2:].partition(b"\n")
    if not newline and len(head) == _BUFFER and not re.search(rb"[ \t\0]", line.lstrip(b" \t")):
        raise ExecError(path, errno.ENOEXEC, "its first line is too long for Linux to find the interpreter's end")
    line = line.strip(b" \t").rstrip(b"\0")
    match = re.match(rb"([^ \t\0]+)(?:[ \t]+([^\0]*))?", line)
    if not match:
        raise ExecError(path, errno.ENOEXEC, "its first line names no interpreter after #!")
    return os.fsdecode(match[1]), os.fsdecode(match[2]) if match[2] else None
