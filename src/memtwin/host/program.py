# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a program file is, before it is started: which file runs, and what would keep the recorder out of it.

The recorder comes in by LD_PRELOAD, which only glibc's own dynamic loader obeys, and in secure mode not even that
(ld.so(8), "secure-execution mode").
"""

from __future__ import annotations

import errno
import os
import platform
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from memtwin.errors import UserError

_HEAD = 256  # bytes of a program that the kernel looks at: BINPRM_BUF_SIZE, linux/binfmts.h
_SCRIPT_DEPTH = 5  # interpreters that are scripts themselves; fs/exec.c, exec_binprm
_CAPABILITIES = "security.capability"  # capabilities(7), file capabilities
_SANITIZER = re.compile(r"lib(a|t|hwa|l|m)san\.so")
_MACHINES = {"EM_X86_64": "x86_64", "EM_AARCH64": "aarch64", "EM_386": "i386"}


@dataclass(frozen=True)
class Program:
    """A program that can be started.

    obstacle: why the recorder cannot get into it, None when nothing is known that would keep it out.
    spare: the environment must not bring the recorder in, for the program would not run with it.
    """

    path: str  # what execve takes, as it was given or found: "./x" stays "./x", which a script sees as $0
    arguments: tuple[str, ...]  # with argv[0]
    obstacle: str | None
    spare: bool = False


def find_program(command: list[str]) -> Program:
    """The program that a command line names, found as execvp(3) finds it. Nothing is started.

    UserError when it is missing or cannot be executed.
    """
    path = _search(command[0] if command else "")
    head = _head(Path(path))
    if head is None:  # it may be executed, but not read
        return Program(path, tuple(command), None)
    if head[:2] != b"#!" and head[:4] != b"\x7fELF":  # execvp and every shell start such a file with the shell
        return Program("/bin/sh", ("sh", path, *command[1:]), None)
    program = _interpreter(Path(path))
    if sanitizer := _sanitizer(program):
        return Program(path, tuple(command), f"it is built with a sanitizer ({sanitizer}), which must come first", True)
    return Program(path, tuple(command), _obstacle(program))


def _search(name: str) -> str:
    """The file that execvp(3) would start: a name without a slash is looked for in PATH, where a file that may not be
    executed is passed over."""
    if not name:
        raise UserError("no program was named: put it behind --, as in `memtwin record -o DIR -- PROGRAM ARGUMENTS`")
    if "/" in name:
        return _executable(name)
    refused = UserError(f"{name}: no such program in PATH")
    for directory in os.environ.get("PATH", os.confstr("CS_PATH") or "").split(":"):
        candidate = f"{directory}/{name}" if directory else name  # an empty word is the current directory
        try:
            return _executable(candidate)
        except UserError as error:
            if os.path.exists(candidate):
                refused = error
    raise refused


def _executable(path: str) -> str:
    """The path, of a file that may be executed. UserError: it is none."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {getattr(error, 'strerror', error)}") from None
    if not stat.S_ISREG(mode):
        raise UserError(f"{path}: is {'a directory' if stat.S_ISDIR(mode) else 'no file'}, not a program")
    if not os.access(path, os.X_OK):
        raise UserError(f"{path}: permission denied: it may not be executed (chmod +x makes it executable)")
    return path


def _interpreter(path: Path) -> Path:
    """The program that the kernel starts for a script, `path` itself when it is none. UserError when it is missing."""
    program = path
    for _ in range(_SCRIPT_DEPTH):
        try:
            head = _head(program)
        except OSError as error:
            raise UserError(f"{path}: its first line names the interpreter {program}: {error.strerror}") from None
        if head is None or head[:2] != b"#!":
            return program
        words = head[2:].split(b"\n", 1)[0].split(None, 1)
        program = Path(os.fsdecode(words[0])) if words else Path("/bin/sh")
    raise UserError(f"{path}: {os.strerror(errno.ELOOP)}: scripts that interpret each other")


def _head(path: Path) -> bytes | None:
    """The first bytes of a file; None when it may not be read, OSError when it is not there."""
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except PermissionError:
        return None


def _obstacle(path: Path) -> str | None:
    return _of_the_format(path) or _of_the_rights(path)


def _of_the_format(path: Path) -> str | None:
    """What its ELF headers say against recording."""
    try:
        with path.open("rb") as file:
            elf: Any = ELFFile(file)
            loader = next((s.get_interp_name() for s in elf.iter_segments("PT_INTERP")), None)
            bits, machine = elf.elfclass, _MACHINES.get(elf["e_machine"], str(elf["e_machine"]).removeprefix("EM_"))
    except PermissionError:
        return None
    except (ELFError, OSError, ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: no program that can be read: {error or type(error).__name__}") from None
    if machine != platform.machine():
        return f"it is {'a 32-bit program' if bits == 32 else 'a program'} for {machine}, and the recorder is for " \
               f"{platform.machine()}"  # fmt: skip
    if loader is None:
        return "it is statically linked, so no loader takes the recorder in"
    name = Path(loader).name
    if name.startswith("ld-musl"):
        return "its C library is musl, and the recorder is for glibc"
    return None if name.startswith("ld-linux") else f"its loader is {name}, not glibc's"


def _sanitizer(path: Path) -> str | None:
    """The sanitizer's runtime that a program is linked to: it ends a program in which another library comes first."""
    try:
        with path.open("rb") as file:
            elf: Any = ELFFile(file)
            tags = [tag for segment in elf.iter_segments("PT_DYNAMIC") for tag in segment.iter_tags("DT_NEEDED")]
            return next((tag.needed for tag in tags if _SANITIZER.match(tag.needed)), None)
    except (ELFError, OSError, ValueError):
        return None  # what is wrong with the file is told elsewhere


def _of_the_rights(path: Path) -> str | None:
    """What puts the loader into secure mode, in which it takes nothing from the environment."""
    about = path.stat()
    if about.st_mode & stat.S_ISUID and about.st_uid != os.getuid():
        return "it is setuid, and such a program takes no recorder in"
    if about.st_mode & stat.S_ISGID and about.st_mode & stat.S_IXGRP and about.st_gid != os.getgid():
        return "it is setgid, and such a program takes no recorder in"
    if os.getuid() and _CAPABILITIES in _attributes(path):
        return "it has file capabilities, and such a program takes no recorder in"
    return None


def _attributes(path: Path) -> list[str]:
    try:
        return os.listxattr(path)
    except OSError:
        return []
