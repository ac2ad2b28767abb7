# SPDX-License-Identifier: LGPL-2.1-or-later
"""ELF files as execve reads them (fs/binfmt_elf.c): the header and the program headers, and nothing else.

    ELF header, 64 bytes                          program header, 56 bytes
      0  e_ident      16  7f 'E' 'L' 'F' …          0  p_type    4
     16  e_type        2  2 EXEC, 3 DYN             4  p_flags   4   1 X, 2 W, 4 R
     18  e_machine     2  62 x86-64                 8  p_offset  8
     24  e_entry       8                           16  p_vaddr   8
     32  e_phoff       8                           24  p_paddr   8
     54  e_phentsize   2                           32  p_filesz  8
     56  e_phnum       2                           40  p_memsz   8
                                                   48  p_align   8

The kernel looks at fewer fields than a debugger does: it starts a file whose sections, class or version byte are
nonsense. pyelftools refuses such a file (0.33: EI_CLASS 255 is a MappingError), so that the two headers are taken apart
here; what is refused and with which errno is the kernel's choice, in the kernel's order.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from dataclasses import dataclass
from typing import BinaryIO

from memtwin.errors import ExecError

ET_EXEC, ET_DYN = 2, 3
PT_LOAD, PT_INTERP, PT_GNU_STACK = 1, 3, 0x6474E551
PF_X, PF_W, PF_R = 1, 2, 4
EM_386, EM_X86_64, EM_AARCH64, EM_RISCV = 3, 62, 183, 243
HEADER_BYTES, PROGRAM_HEADER_BYTES = 64, 56
MOST_PROGRAM_HEADERS = 65536 // PROGRAM_HEADER_BYTES
PATH_MAX = 4096

_WORD = (1 << 64) - 1
_MAGIC = b"\x7fELF"
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")
_MACHINES = {EM_386: "i386", EM_X86_64: "x86-64", EM_AARCH64: "arm64", EM_RISCV: "RISC-V"}


@dataclass(frozen=True)
class Segment:
    """A PT_LOAD header. prot: PROT_*; file_bytes of it come from `offset` in the file, the others are zero."""

    offset: int
    address: int
    file_bytes: int
    memory_bytes: int
    prot: int
    align: int


@dataclass(frozen=True)
class Image:
    """What execve knows of an ELF file.

    path: with symbolic links resolved, as /proc/PID/maps names it. executable_stack: what PT_GNU_STACK asks for, None
    when there is none. interpreter: the path in PT_INTERP, or None.
    """

    path: str
    dynamic: bool  # ET_DYN: may lie anywhere
    entry: int
    header_offset: int
    header_count: int
    segments: tuple[Segment, ...]
    executable_stack: bool | None
    interpreter: str | None

    @property
    def alignment(self) -> int:
        """The largest p_align that is a power of two, at least a page (maximum_alignment)."""
        return max([4096, *(part.align for part in self.segments if part.align.bit_count() == 1)])

    @property
    def span(self) -> int:
        """Bytes from the first segment's page to the last one's end; 0 without segments (total_mapping_size)."""
        if not self.segments:
            return 0
        end = max((part.address + part.memory_bytes) & _WORD for part in self.segments)
        return end - min(part.address & -4096 & _WORD for part in self.segments) & _WORD


def read_image(path: str, machine: int = EM_X86_64) -> Image:
    """The program at `path`. ExecError with execve's errno when Linux would not start it."""
    with open_program(path) as file:
        header = _read_header(path, file, machine, errno.ENOEXEC)
        headers = _read_program_headers(path, file, header, errno.ENOEXEC)
        return _image(path, header, headers, _interpreter(path, file, headers))


def read_interpreter(program: str, path: str, machine: int = EM_X86_64) -> Image:
    """The interpreter that `program` names. ExecError, ELIBBAD where it is no ELF file for this machine."""
    try:
        file = open_program(path or ".")  # no name at all is the current directory here (open_exec)
    except ExecError as error:
        raise ExecError(program, error.errno, f"its interpreter {path!r} cannot be opened") from None
    with file:
        header = _read_header(path, file, machine, errno.ELIBBAD)
        return _image(path, header, _read_program_headers(path, file, header, errno.ELIBBAD), None)


def open_program(path: str) -> BinaryIO:
    """The file, for reading. ExecError: it is missing, no regular file, or not executable (open_exec)."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode) or not os.access(path, os.X_OK):
            raise ExecError(path, errno.EACCES, "it is not an executable file: chmod +x, or give another")
        return open(path, "rb")
    except (OSError, ValueError) as error:
        number = getattr(error, "errno", None) or errno.ENOENT
        raise ExecError(path, number, "give the path of a program") from None


def _read_header(path: str, file: BinaryIO, machine: int, wrong: int) -> tuple[int, ...]:
    """(e_type, e_entry, e_phoff, e_phentsize, e_phnum)."""
    raw = file.read(HEADER_BYTES)
    if wrong == errno.ELIBBAD and len(raw) < HEADER_BYTES:
        raise ExecError(path, errno.EIO, "this interpreter is shorter than an ELF header")
    if raw[:4] != _MAGIC:
        raise ExecError(path, wrong, "it is not an ELF file")
    fields = _HEADER.unpack(raw.ljust(HEADER_BYTES, b"\0"))
    if fields[1] not in (ET_EXEC, ET_DYN):
        raise ExecError(path, wrong, f"ELF type {fields[1]} is neither a program (2) nor position-independent (3)")
    if fields[2] != machine:
        name = _MACHINES.get(fields[2], f"machine {fields[2]}")
        raise ExecError(path, wrong, f"it is for {name}, not for {_MACHINES.get(machine, machine)}")
    return fields[1], fields[4], fields[5], fields[9], fields[10]


def _read_program_headers(path: str, file: BinaryIO, header: tuple[int, ...], wrong: int) -> list[tuple[int, ...]]:
    """All program headers, each as its eight fields (load_elf_phdrs)."""
    _, _, offset, size, count = header
    if size != PROGRAM_HEADER_BYTES or not 0 < count <= MOST_PROGRAM_HEADERS:
        raise ExecError(path, wrong, f"{count} program headers of {size} bytes: Linux wants 1 to 1170 of 56")
    raw = _read_at(file, offset, count * PROGRAM_HEADER_BYTES)
    if raw is None:
        raise ExecError(path, wrong, f"its {count} program headers at {offset:#x} lie past the end of the file")
    return list(_PROGRAM_HEADER.iter_unpack(raw))


def _read_at(file: BinaryIO, offset: int, length: int) -> bytes | None:
    """`length` bytes at `offset`, or None when the file has them not (elf_read)."""
    if offset > os.fstat(file.fileno()).st_size:
        return None
    file.seek(offset)
    raw = file.read(length)
    return raw if len(raw) == length else None


def _interpreter(path: str, file: BinaryIO, headers: list[tuple[int, ...]]) -> str | None:
    """What the first PT_INTERP names."""
    for kind, _, offset, _, _, length, _, _ in headers:
        if kind != PT_INTERP:
            continue
        if not 2 <= length <= PATH_MAX:
            raise ExecError(path, errno.ENOEXEC, f"its interpreter's name has {length} bytes")
        raw = _read_at(file, offset, length)
        if raw is None:
            number = errno.EINVAL if offset >> 63 else errno.EIO  # kernel_read takes a signed place
            raise ExecError(path, number, "its interpreter's name lies past the end of the file")
        if raw[-1]:
            raise ExecError(path, errno.ENOEXEC, "its interpreter's name does not end")
        return os.fsdecode(raw[: raw.index(0)])
    return None


def _image(path: str, header: tuple[int, ...], headers: list[tuple[int, ...]], interpreter: str | None) -> Image:
    kind, entry, offset, _, count = header
    segments = [
        Segment(place, address, in_file, in_memory, _prot(flags), align)
        for type_, flags, place, address, _, in_file, in_memory, align in headers
        if type_ == PT_LOAD
    ]
    stack = [bool(flags & PF_X) for type_, flags, *_ in headers if type_ == PT_GNU_STACK]
    return Image(
        os.path.realpath(path), kind == ET_DYN, entry, offset, count, tuple(segments),
        stack[-1] if stack else None, interpreter,
    )  # fmt: skip


def _prot(flags: int) -> int:
    """PROT_* of p_flags: the two number the accesses the other way round."""
    return (1 if flags & PF_R else 0) | (2 if flags & PF_W else 0) | (4 if flags & PF_X else 0)
