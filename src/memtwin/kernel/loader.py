# SPDX-License-Identifier: LGPL-2.1-or-later
"""execve: an address space as a program finds it before its first instruction (fs/exec.c, fs/binfmt_elf.c).

    task_size  +--------------------+
               | [stack]            |  strings, auxv, envp, argv, argc (kernel/stack.py); 128 KiB below them
               +--------------------+
    mmap_base  +--------------------+
               | interpreter        |  or the program itself, if it is position-independent and has no interpreter
               | [vvar] [vdso]      |
               +--------------------+
               | [heap]             |  later, from brk_start
    2/3 of it  | program            |  if it is position-independent; else where its file says
               +--------------------+

The order of the mappings and what is done with each are load_elf_binary's, so that placement and merging follow from
the address space's own rules. Addresses are those of a process without address randomisation (setarch -R).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from memtwin.errors import ExecError, MemoryFault
from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.elf import Image, Segment, read_image, read_interpreter
from memtwin.kernel.flags import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_PRIVATE,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
)
from memtwin.kernel.shebang import follow
from memtwin.kernel.stack import Arguments, Auxiliary, put_strings, put_tables

MIB = 1 << 20
_WORD = (1 << 64) - 1
_STACK_EXPAND = 128 << 10
_SMALLEST_GAP = 128 * MIB


@dataclass(frozen=True)
class Program:
    """What execve made. Addresses are of the process: load_bias what is added to those in the file, entry the first
    instruction (the interpreter's if there is one), stack_pointer where argc is; interpreter_base 0 without one."""

    image: Image
    interpreter: Image | None
    load_bias: int
    interpreter_base: int
    entry: int
    stack_pointer: int
    brk_start: int
    vdso: int
    auxiliary: dict[str, int]


@dataclass
class _Bounds:
    """What execve learns of the program's extent while it maps it (load_elf_binary's locals)."""

    start_code: int = _WORD
    end_code: int = 0
    start_data: int = 0
    end_data: int = 0
    brk: int = 0
    headers: int = 0


def load_program(
    space: AddressSpace,
    path: str,
    argv: Sequence[str | bytes] | None = None,
    env: Mapping[str, str] | None = None,
    stack_limit: int = 8 * MIB,
    auxiliary: Auxiliary | None = None,
    open_file: Callable[[str], Any] | None = None,
) -> Program:
    """execve(path, argv, env) in an address space, whose mappings go.

    A script starts its interpreter. argv: [path] when left out. stack_limit: RLIMIT_STACK, 2**64 - 1 for none.
    auxiliary: what the kernel tells the program of the machine. open_file: gives the file object that mappings of a
    path have.
    ExecError when Linux would refuse the program; with `killed` set, the space is left half built, as Linux kills the
    process then.
    """
    started, words = follow(path, [path] if argv is None else argv)
    image = read_image(started)
    interpreter = read_interpreter(path, image.interpreter) if image.interpreter is not None else None
    arguments = Arguments.of(path, words, env, stack_limit)
    loader = _Loader(space, open_file or space.machine.host_file)
    loader.begin(image, arguments, stack_limit)
    return loader.load(image, interpreter, arguments, auxiliary or Auxiliary.of_host())


class _Loader:
    """One execve."""

    def __init__(self, space: AddressSpace, open_file: Callable[[str], Any]) -> None:
        self.space = space
        self.open_file = lru_cache(open_file)
        self.page = space.page_size
        self.bounds = _Bounds()
        self.path = ""

    def up(self, address: int) -> int:
        """To the next page border (ELF_PAGEALIGN), in 64 bits."""
        return (address + self.page - 1) & -self.page & _WORD

    def down(self, address: int) -> int:
        """To the page's begin (ELF_PAGESTART)."""
        return address & -self.page & _WORD

    @property
    def dyn_base(self) -> int:
        """Where position-independent programs begin on x86-64: two thirds up (ELF_ET_DYN_BASE)."""
        return int(self.space.task_size) // 3 * 2

    def begin(self, image: Image, arguments: Arguments, stack_limit: int) -> None:
        """The old mappings go; the stack comes (setup_arg_pages)."""
        space = self.space
        self.path = image.path
        space.vm_munmap(0, space.task_size)
        space.set_layout(mmap_base(space, stack_limit), 0)
        top = space.task_size
        strings = top - self.down(arguments.bottom(top))
        start = top - min(stack_limit & -self.page, strings + _STACK_EXPAND)
        start = min(start, top - strings, self.down(arguments.stack_pointer(top)))
        prot = PROT_READ | PROT_WRITE | (PROT_EXEC if image.executable_stack else 0)
        space.restore_vma(start, top, prot, label="[stack]")
        put_strings(space, arguments)

    def load(self, image: Image, interpreter: Image | None, arguments: Arguments, auxiliary: Auxiliary) -> Program:
        """The program, its interpreter, the kernel's own pages, the tables on the stack, the heap's place."""
        space = self.space
        bias = self.map_program(image, interpreter is not None)
        base = self.map_interpreter(interpreter, bias) if interpreter is not None else 0
        entry = (base + interpreter.entry if interpreter is not None else bias + image.entry) & _WORD
        if entry >= space.task_size:
            raise self.killed(errno.EINVAL, f"its entry point {entry:#x} is no user address")
        vdso = self.map_vdso()
        headers = (self.bounds.headers + bias) & _WORD
        own_entry = (image.entry + bias) & _WORD
        values = auxiliary.vector(vdso, headers, image.header_count, base, own_entry, self.page)
        stack_pointer = put_tables(space, arguments, values)
        brk = self.dyn_base if image.dynamic and interpreter is None else self.bounds.brk + bias & _WORD
        space.set_layout(space.mmap_base, self.up(brk))
        if self.bounds.end_code:
            space.start_code = self.bounds.start_code + bias & _WORD
            space.end_code = self.bounds.end_code + bias & _WORD
        space.data_bytes = self.bounds.end_data - self.bounds.start_data & _WORD
        space.start_stack = stack_pointer
        return Program(
            image, interpreter, bias, base, entry, stack_pointer, space.brk_start, vdso, dict(values)
        )  # fmt: skip

    def killed(self, number: int, why: str) -> ExecError:
        """The error for a failure after the point of no return."""
        return ExecError(self.path, number, why, killed=True)

    def map_program(self, image: Image, interpreted: bool) -> int:
        """All segments; the load bias."""
        bias = total = 0
        for index, part in enumerate(image.segments):
            flags = MAP_PRIVATE | (MAP_FIXED if index else MAP_FIXED_NOREPLACE)
            if index == 0 and image.dynamic:
                bias, total, flags = self.place(image, part, interpreted)
            mapped = self.map_segment(image, (bias + part.address) & _WORD, part, flags, total)
            if index == 0 and image.dynamic:
                bias = (bias + mapped - self.down(bias + part.address)) & _WORD
            total = 0
            self.note(image, part)
        return bias

    def place(self, image: Image, first: Segment, interpreted: bool) -> tuple[int, int, int]:
        """Bias, bytes to map at once, and flags for the first segment of a position-independent program."""
        total = image.span
        if total == 0:
            raise self.killed(errno.EINVAL, "its segments are empty")
        bias, flags = 0, MAP_PRIVATE
        if interpreted:
            bias = self.dyn_base & -image.alignment
            flags |= MAP_FIXED_NOREPLACE
        elif image.alignment > self.page:
            found = self.map_segment(image, 0, first, flags, total)
            self.space.vm_munmap(found, total)
            bias = found & -image.alignment
            flags |= MAP_FIXED_NOREPLACE
        return self.down(bias - first.address), total, flags

    def note(self, image: Image, part: Segment) -> None:
        """Check a mapped segment's extent, and remember what it adds to code, heap start and headers."""
        end = part.address + part.memory_bytes
        if part.file_bytes > part.memory_bytes or end > self.space.task_size or part.address >= self.space.task_size:
            raise self.killed(errno.EINVAL, f"its segment at {part.address:#x} has no room among user addresses")
        bounds = self.bounds
        if part.offset <= image.header_offset < part.offset + part.file_bytes:
            bounds.headers = image.header_offset - part.offset + part.address
        if part.prot & PROT_EXEC:
            bounds.start_code = min(bounds.start_code, part.address)
            bounds.end_code = max(bounds.end_code, part.address + part.file_bytes)
        bounds.start_data = max(bounds.start_data, part.address)
        bounds.end_data = max(bounds.end_data, part.address + part.file_bytes)
        bounds.brk = max(bounds.brk, end)

    def map_interpreter(self, image: Image, no_base: int) -> int:
        """The interpreter, top-down; its load bias (load_elf_interp)."""
        total = image.span
        if total == 0:
            raise self.killed(errno.EINVAL, f"its interpreter {image.path} has no segments")
        bias = 0
        for index, part in enumerate(image.segments):
            flags = MAP_PRIVATE | (MAP_FIXED if index or not image.dynamic else 0)
            if index == 0 and image.dynamic and no_base:
                bias = -part.address & _WORD
            mapped = self.map_segment(image, (bias + part.address) & _WORD, part, flags, total)
            total = 0
            if index == 0 and image.dynamic:
                bias = (mapped - self.down(part.address)) & _WORD
            at = (bias + part.address) & _WORD
            if part.file_bytes > part.memory_bytes or at + part.memory_bytes > self.space.task_size:
                raise self.killed(errno.ENOMEM, f"its interpreter's segment at {at:#x} has no room")
        return bias

    def map_segment(self, image: Image, address: int, part: Segment, flags: int, total: int) -> int:
        """One segment: its file's pages, zeros behind them, anonymous pages for the rest (elf_load).

        total: where not 0, that much is mapped first and what is beyond the segment unmapped, so that all of an image
        finds room. Returns where the segment's first page is.
        """
        into_page = part.address & (self.page - 1)
        mapped = self.down(address)
        zero_start = mapped
        zero_end = mapped + into_page + part.memory_bytes
        if part.file_bytes:
            mapped = self.map_file(image, mapped, part, flags, total)
            zero_start = mapped + into_page + part.file_bytes
            zero_end = mapped + into_page + part.memory_bytes
            if part.memory_bytes > part.file_bytes:
                self.clear_tail(zero_start, part)
        if part.memory_bytes > part.file_bytes:
            self.map_zeros(self.up(zero_start), self.up(zero_end), part.prot & PROT_EXEC)
        if mapped >= self.space.task_size:  # an empty segment, which nothing has placed
            raise self.killed(errno.EINVAL, f"its empty segment lies at {mapped:#x}, no user address")
        return mapped

    def map_file(self, image: Image, address: int, part: Segment, flags: int, total: int) -> int:
        """A segment's pages in the file (elf_map)."""
        into_page = part.address & (self.page - 1)
        offset = (part.offset - into_page) & _WORD
        size = self.up(part.file_bytes + into_page)
        if size == 0:
            return address
        if offset & (self.page - 1):
            raise self.killed(errno.EINVAL, f"segment at {part.address:#x}: file offset {part.offset:#x} does not fit")
        whole = self.up(total) if total else size
        if offset + self.up(whole) > _WORD:
            raise self.killed(errno.EINVAL, f"segment at {part.address:#x}: file offset {part.offset:#x} overflows")
        found = self.space.vm_mmap(address, whole, part.prot, flags, self.open_file(image.path), offset)
        if not 0 <= found < self.space.task_size:
            raise self.killed(-found, f"no room at {address:#x} for its segment of {whole:#x} bytes")
        if total:
            self.space.vm_munmap((found + size) & _WORD, (whole - size) & _WORD)
        return found

    def clear_tail(self, address: int, part: Segment) -> None:
        """Zero the rest of the last file page; that this cannot be in a read-only segment is no error (padzero)."""
        count = -address & (self.page - 1)
        if count == 0:
            return
        try:
            self.space.write(address, bytes(count))
        except MemoryFault:
            if part.prot & PROT_WRITE:
                raise self.killed(errno.EFAULT, f"its bss at {address:#x} has no page in the file") from None

    def map_zeros(self, start: int, end: int, execute: int) -> None:
        """Anonymous pages, readable and writable whatever the segment says (vm_brk_flags)."""
        length = (end - start) & _WORD
        if length == 0:
            return
        failed = self.space.vm_brk(start, length, execute)
        if failed:
            raise self.killed(-failed, f"no room at {start:#x} for {length:#x} zero bytes")

    def map_vdso(self) -> int:
        """The kernel's data and code pages in one free place; where the code begins (map_vdso)."""
        space = self.space
        pages = space.profile.vdso_pages
        at = space.vm_mmap(0, sum(count for _, _, count in pages) * self.page, 0, MAP_PRIVATE | MAP_ANONYMOUS, None, 0)
        if at < 0:
            raise self.killed(-at, "no room for the vdso")
        for label, prot, count in pages:
            start, at = at, at + count * self.page
            space.restore_vma(start, at, prot, label=label)
        return int(start)


def mmap_base(space: AddressSpace, stack_limit: int) -> int:
    """Where top-down placement begins: below the room that the stack may take, at least 128 MiB and at most five
    sixths of all (arch/x86/mm/mmap.c)."""
    wanted = min(stack_limit, _WORD)
    if wanted + space.guard_gap <= _WORD:
        wanted += space.guard_gap
    gap = min(max(wanted, _SMALLEST_GAP), space.task_size // 6 * 5)
    return int((space.task_size - gap + space.page_size - 1) & -space.page_size)


__all__ = ["Program", "load_program", "mmap_base"]
