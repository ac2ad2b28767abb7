# SPDX-License-Identifier: LGPL-2.1-or-later
"""The top of a new program's stack, as execve writes it (fs/exec.c, copy_strings; fs/binfmt_elf.c, create_elf_tables).

task_size  +---------------------------------+
           | 8 zero bytes                    |
           | path of the program             |  AT_EXECFN
           | environment strings             |
           | argument strings                |  <- p; its page is the stack's first
           | "x86_64"                        |  AT_PLATFORM, below p rounded down to 16
           | 16 random bytes                 |  AT_RANDOM
           | auxiliary vector, AT_NULL last  |
           | envp[0] … NULL                  |
           | argv[0] … NULL                  |
           | argc                            |  <- stack pointer, a multiple of 16
           +---------------------------------+
"""

from __future__ import annotations

import errno
import os
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from memtwin.errors import ExecError
from memtwin.kernel.addrspace import AddressSpace

# uapi/linux/auxvec.h and asm/auxvec.h, in the order in which x86-64 writes them
AT = {
    "AT_SYSINFO_EHDR": 33, "AT_MINSIGSTKSZ": 51, "AT_HWCAP": 16, "AT_PAGESZ": 6, "AT_CLKTCK": 17, "AT_PHDR": 3,
    "AT_PHENT": 4, "AT_PHNUM": 5, "AT_BASE": 7, "AT_FLAGS": 8, "AT_ENTRY": 9, "AT_UID": 11, "AT_EUID": 12,
    "AT_GID": 13, "AT_EGID": 14, "AT_SECURE": 23, "AT_RANDOM": 25, "AT_HWCAP2": 26, "AT_EXECFN": 31,
    "AT_PLATFORM": 15, "AT_RSEQ_FEATURE_SIZE": 27, "AT_RSEQ_ALIGN": 28,
}  # fmt: skip
_OF_MACHINE = (
    "AT_MINSIGSTKSZ", "AT_HWCAP", "AT_CLKTCK", "AT_HWCAP2", "AT_RSEQ_FEATURE_SIZE", "AT_RSEQ_ALIGN", "AT_UID",
    "AT_EUID", "AT_GID", "AT_EGID",
)  # fmt: skip
ARG_MAX, MAX_ARG_STRLEN = 128 << 10, 128 << 10
MOST_STRINGS = 6 << 20  # three quarters of the 8 MiB that a stack has by default (_STK_LIM / 4 * 3)


@dataclass(frozen=True)
class Arguments:
    """What a program is given, each string with its final NUL."""

    path: bytes
    argv: tuple[bytes, ...]
    env: tuple[bytes, ...]
    platform: bytes = b"x86_64\0"
    entries: int = len(AT) + 1  # of the auxiliary vector, AT_NULL included

    @classmethod
    def of(cls, path: str, argv: Sequence[str | bytes], env: Mapping[str, str] | None, stack_limit: int) -> Arguments:
        """From a caller's argv and environment. ExecError, E2BIG as Linux has it: a string over 128 KiB, or more in
        all than a quarter of the stack's limit."""
        made = cls(
            _string(path, path),
            tuple(_string(path, word) for word in list(argv) or [""]),
            tuple(_string(path, f"{name}={value}") for name, value in (env or {}).items()),
        )
        made.check(path, stack_limit)
        return made

    def check(self, path: str, stack_limit: int) -> None:
        """See `of` (bprm_stack_limits)."""
        most = max(min(MOST_STRINGS, stack_limit // 4), ARG_MAX) - 8 * (len(self.argv) + len(self.env))
        if most <= 0 or len(self.path) + sum(map(len, self.argv + self.env)) > most:
            raise ExecError(path, errno.E2BIG, f"its arguments and environment take more than {max(most, 0)} bytes")

    def bottom(self, top: int) -> int:
        """Address of the lowest string on a stack that ends at `top`: argv[0]."""
        return top - 8 - len(self.path) - sum(map(len, self.env)) - sum(map(len, self.argv))

    def vector_end(self, top: int) -> int:
        """Address of the random bytes, below which the tables are."""
        return (self.bottom(top) & -16) - len(self.platform) - 16

    def stack_pointer(self, top: int) -> int:
        """Address of argc."""
        words = 1 + len(self.argv) + 1 + len(self.env) + 1 + 2 * self.entries
        return (self.vector_end(top) - 8 * words) & -16


@dataclass(frozen=True)
class Auxiliary:
    """What the auxiliary vector tells of the machine and the user, by name."""

    values: Mapping[str, int] = field(default_factory=dict)
    random: bytes = bytes(16)

    @classmethod
    def of_host(cls) -> Auxiliary:
        """As this process has been told, its random bytes left out (zeros)."""
        words = array("Q", Path("/proc/self/auxv").read_bytes())
        told = dict(zip(words[::2], words[1::2], strict=True))
        return cls({name: told.get(AT[name], 0) for name in _OF_MACHINE})

    def vector(
        self, vdso: int, headers: int, header_count: int, base: int, entry: int, page_size: int
    ) -> list[tuple[str, int]]:
        """Names and values in the kernel's order; AT_RANDOM, AT_EXECFN and AT_PLATFORM are 0 until they are placed."""
        known = {
            "AT_SYSINFO_EHDR": vdso, "AT_PAGESZ": page_size, "AT_PHDR": headers, "AT_PHENT": 56,
            "AT_PHNUM": header_count, "AT_BASE": base, "AT_ENTRY": entry, **self.values,
        }  # fmt: skip
        return [(name, known.get(name, 0)) for name in AT]


def put_strings(space: AddressSpace, arguments: Arguments) -> None:
    """Path, environment and arguments onto the stack, which ends where user addresses end."""
    text = b"".join((*arguments.argv, *arguments.env, arguments.path))
    space.write(arguments.bottom(space.task_size), text)


def put_tables(
    space: AddressSpace, arguments: Arguments, values: list[tuple[str, int]], random: bytes = bytes(16)
) -> int:
    """Everything below the strings; returns the stack pointer. `values` gets the addresses that come about here."""
    top = space.task_size
    end = arguments.vector_end(top)
    places = {
        "AT_RANDOM": end,
        "AT_EXECFN": top - 8 - len(arguments.path),
        "AT_PLATFORM": (arguments.bottom(top) & -16) - len(arguments.platform),
    }
    values[:] = [(name, places.get(name, value)) for name, value in values]
    space.write(end, random + arguments.platform)
    words = [len(arguments.argv)]
    at = arguments.bottom(top)
    for group in (arguments.argv, arguments.env):
        for string in group:
            words.append(at)
            at += len(string)
        words.append(0)
    for name, value in values:
        words += AT[name], value
    words += 0, 0
    start = arguments.stack_pointer(top)
    space.write(start, b"".join(word.to_bytes(8, "little") for word in words))
    return start


def _string(path: str, word: str | bytes) -> bytes:
    raw = os.fsencode(word)
    if b"\0" in raw:
        raise ExecError(path, errno.EINVAL, f"the argument {word!r} has a zero byte in it")
    if len(raw) + 1 > MAX_ARG_STRLEN:
        raise ExecError(path, errno.E2BIG, f"an argument of {len(raw)} bytes: at most {MAX_ARG_STRLEN - 1} are")
    return raw + b"\0"
