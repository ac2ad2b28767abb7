# SPDX-License-Identifier: LGPL-2.1-or-later
"""The memory calls of a real program, recorded by strace: what it asked for and what the kernel gave."""

from __future__ import annotations

import errno
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from memtwin.errors import UserError
from memtwin.host.personality import without_randomisation

CALLS = ("mmap", "munmap", "mprotect", "brk", "mremap", "madvise", "mlock", "munlock")

# mmap(0x7f12000, 8192, 0x3, 0x812, 3</usr/lib/libc.so.6>, 0x29000) = 0x7f12000      (strace -X raw -y)
_LINE = re.compile(r"(\w+)\((.*)\) += (-?\w+)(?: (E[A-Z0-9]+))?")
_FILE = re.compile(r"(-?\d+)<(.*)>(?=, |$)")


class Call(NamedTuple):
    """One system call. path: of the file that an mmap maps, else None; result: -errno where it failed."""

    name: str
    arguments: tuple[int, ...]
    path: str | None
    result: int


def parse_strace(lines: Iterable[str]) -> Iterator[Call]:
    """The memory calls in the output of `strace -X raw -y`; other lines are passed over."""
    for line in lines:
        match = _LINE.match(line)
        if not match or match[1] not in CALLS:
            continue
        named = _FILE.search(match[2])
        words = _FILE.sub(r"\1", match[2]).split(", ") if match[2] else []
        result = -getattr(errno, match[4]) if match[4] else int(match[3], 0)
        yield Call(match[1], tuple(map(_number, words)), named[2] if named else None, result)


def _number(word: str) -> int:
    return 0 if word == "NULL" else int(word, 0)


def record(argv: Sequence[str], env: Mapping[str, str] | None = None) -> list[Call]:
    """Run a program without address randomisation under strace; its first process's memory calls, in order.

    UserError when strace is missing or the program cannot be started.
    """
    strace = shutil.which("strace")
    if strace is None:
        raise UserError("strace is not installed: apt install strace")
    with tempfile.TemporaryDirectory() as place:
        output = Path(place) / "strace"
        options = ["-X", "raw", "-y", "-o", str(output), "-e", f"trace={','.join(CALLS)}"]
        with without_randomisation():
            subprocess.run(
                [strace, *options, *argv], env=dict(env or {}), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
        if not output.exists():
            raise UserError(f"{argv[0]}: strace could not start it")
        return list(parse_strace(output.read_text().splitlines()))
