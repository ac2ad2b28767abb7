# SPDX-License-Identifier: LGPL-2.1-or-later
"""What ld.so does to memory between execve and main(): the libraries a program needs, mapped as glibc maps them.

The order is rtld.c's since 2.34: two pages for its own malloc, /etc/ld.so.cache when the first library that no run
path leads to is looked for, each library where top-down placement puts it (dl-map-segments.h: the whole span at once,
then each segment over it), three pages for the thread control block and thread-local storage, then what relocation has
written becomes read-only (PT_GNU_RELRO), and the cache is unmapped.

Constructors are not run: what they allocate is missing. ld.so's own bookkeeping is that of a program with a few
libraries; with many the two anonymous mappings may be a page or two larger or smaller.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from memtwin.errors import UserError
from memtwin.host.libc_symbols import read_symbols
from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.elf import Segment
from memtwin.kernel.files import File
from memtwin.kernel.loader import Program, load_program
from memtwin.twin.program import Begun, libc_data

_CACHE = "/etc/ld.so.cache"
_PLACES = ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib")
_READ, _READ_WRITE, _EXEC, _PRIVATE, _FIXED, _ANONYMOUS = 1, 3, 4, 2, 0x10, 0x20


@dataclass(frozen=True)
class Command:
    """A program to be started, as execve gets it."""

    path: str
    arguments: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()

    def begin(self, space: AddressSpace) -> Begun:
        """execve and ld.so in an empty address space.

        UserError: no program that Linux would start, or a library that is missing.
        """
        program = load_program(space, self.path, [self.path, *self.arguments], dict(self.environment))
        found = None
        if program.interpreter is not None:
            found = _Linker(space).link(program, os.path.realpath(self.path))
        return found or Begun(*libc_data(space))


@dataclass(frozen=True)
class _Dynamic:
    """What of an ELF file concerns ld.so. relro: (address, bytes)."""

    segments: tuple[Segment, ...]
    needed: tuple[str, ...]
    runpath: tuple[str, ...]
    relro: tuple[int, int]


def _dynamic(path: str) -> _Dynamic:
    try:
        with open(path, "rb") as file:
            elf = ELFFile(file)
            segments = tuple(_segment(part.header) for part in elf.iter_segments("PT_LOAD"))
            dynamic: list[Any] = list(elf.iter_segments("PT_DYNAMIC"))
            tags = [tag for part in dynamic for tag in part.iter_tags()]
            needed = tuple(tag.needed for tag in tags if tag.entry.d_tag == "DT_NEEDED")
            paths = [tag.runpath for tag in tags if tag.entry.d_tag == "DT_RUNPATH"]
            paths += [tag.rpath for tag in tags if tag.entry.d_tag == "DT_RPATH"]
            relro = next(((s["p_vaddr"], s["p_memsz"]) for s in elf.iter_segments("PT_GNU_RELRO")), (0, 0))
    except (OSError, ELFError) as error:
        raise UserError(f"{path}: its dynamic section cannot be read: {error}") from None
    origin = os.path.dirname(path)
    runpath = tuple(part.replace("$ORIGIN", origin) for text in paths for part in text.split(":"))
    return _Dynamic(segments, needed, runpath, relro)


def _segment(header: Any) -> Segment:
    bits = header.p_flags
    prot = bits >> 2 & 1 | bits & 2 | (bits & 1) << 2
    return Segment(header.p_offset, header.p_vaddr, header.p_filesz, header.p_memsz, prot, header.p_align)


class _Linker:
    """One run of ld.so."""

    def __init__(self, space: AddressSpace) -> None:
        self.space = space
        self.page = space.page_size
        self.relro: list[tuple[int, int]] = []

    def link(self, program: Program, path: str) -> Begun | None:
        """Map what the program needs; what of its libc malloc has to know, None without a libc."""
        interpreter = program.interpreter
        assert interpreter is not None
        self.anonymous(2)
        size, cache = _size_of(_CACHE), 0
        self.relro.append(self.part(program.load_bias, _dynamic(path).relro))
        self.relro.append(self.part(program.interpreter_base, _dynamic(os.path.realpath(interpreter.path)).relro))
        found = None
        for library, looked_up in _needed(path, interpreter.path):
            if looked_up and size and not cache:
                cache = self.map(0, size, _READ, _PRIVATE, self.space.machine.host_file(_CACHE), 0)
            base = self.library(library)
            if os.path.basename(library).startswith("libc.so"):
                symbols = read_symbols(Path(library))
                found = Begun(base + symbols.main_arena, base + symbols.mp, symbols.release)
        self.anonymous(3)
        for start, length in reversed(self.relro):
            if length:
                self.space.sys_mprotect(start, length, _READ)
        if cache:
            self.space.vm_munmap(cache, size)
        return found

    def anonymous(self, pages: int) -> int:
        return self.map(0, pages * self.page, _READ_WRITE, _PRIVATE | _ANONYMOUS, None, 0)

    def map(self, address: int, length: int, prot: int, flags: int, file: Any, offset: int) -> int:
        found = int(self.space.vm_mmap(address, length, prot, flags, file, offset))
        if found < 0:
            raise UserError(f"there is no room for {length} bytes of the program's libraries")
        return found

    def library(self, path: str) -> int:
        """All segments of one library; its load bias."""
        dynamic, file = _dynamic(path), self.space.machine.host_file(path)
        if not dynamic.segments:
            raise UserError(f"{path}: a library without segments")
        first = dynamic.segments[0]
        low = first.address & -self.page
        span = self.up(max(part.address + part.memory_bytes for part in dynamic.segments)) - low
        base = self.map(0, span, first.prot, _PRIVATE, file, first.offset & -self.page) - low
        for part in dynamic.segments[1:]:
            self.segment(base, part, file)
        self.relro.append(self.part(base, dynamic.relro))
        return base

    def segment(self, base: int, part: Segment, file: File) -> None:
        """A segment's file pages, and zeros behind them: the rest of the last page, and pages of their own."""
        start = base + part.address & -self.page
        end, last = self.up(base + part.address + part.file_bytes), self.up(base + part.address + part.memory_bytes)
        self.map(start, end - start, part.prot, _PRIVATE | _FIXED, file, part.offset & -self.page)
        if part.memory_bytes > part.file_bytes and part.prot & 2:
            self.space.touch(base + part.address + part.file_bytes, 1, 2)
        if last > end:
            self.map(end, last - end, _READ_WRITE | part.prot & _EXEC, _PRIVATE | _FIXED | _ANONYMOUS, None, 0)

    def part(self, base: int, relro: tuple[int, int]) -> tuple[int, int]:
        """The whole pages of a range that relocation makes read-only (_dl_protect_relro)."""
        start, end = base + relro[0] & -self.page, base + sum(relro) & -self.page
        return start, end - start

    def up(self, address: int) -> int:
        return -(-address // self.page) * self.page


def _needed(path: str, interpreter: str) -> Iterator[tuple[str, bool]]:
    """The libraries that a program needs, breadth first, each once, without the loader itself; whether ld.so looks it
    up in its cache, as no run path leads to it."""
    seen = {os.path.basename(interpreter)}
    waiting = [path]
    for at in waiting:
        found = _dynamic(at)
        for name in found.needed:
            if name in seen:
                continue
            seen.add(name)
            library, looked_up = _found(name, found.runpath, path)
            waiting.append(library)
            yield library, looked_up


def _found(name: str, runpath: tuple[str, ...], program: str) -> tuple[str, bool]:
    for number, folder in enumerate((*runpath, *_PLACES)):
        candidate = os.path.join(folder, name)
        if os.path.isfile(candidate):
            return os.path.realpath(candidate), number >= len(runpath)
    raise UserError(f"{program}: it needs the library {name}, which is in none of {', '.join((*runpath, *_PLACES))}")


def _size_of(path: str) -> int:
    return os.path.getsize(path) if os.path.exists(path) else 0
