# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where the mappings of a process lie when its main() begins: of a small program, or of a real process as it is.

The small program is what gcc makes of an empty main(): its sizes were read on Debian 12 (gcc 12.2, glibc 2.36, Linux
6.18, x86-64, November 2026) from /proc/PID/maps without address randomisation; tests/twin/test_program.py reads them
again.

    high   [stack]                       33 pages below TASK_SIZE
           ld.so                         mapped by the kernel, top down from mmap_base
           [vvar] [vvar_vclock] [vdso]
           2 pages of ld.so's own malloc
           a hole                        /etc/ld.so.cache was mapped here, and unmapped: later mappings may fill it
           libc.so.6, its bss
           3 pages of thread control block and TLS
           … new mappings, top down …
           [heap]                        from the end of the program's bss
    low    program                       at 2/3 of TASK_SIZE
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from memtwin.errors import UserError
from memtwin.kernel.addrspace import AddressSpace

_LIBC = "/usr/lib/x86_64-linux-gnu/libc.so.6"
_LOADER = "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
_LIBC_SIZE = 0x1E2000  # with its bss, bytes from its first page on
_MAIN_ARENA, _MP = 0x1D3C60, 0x1D3340  # in libc, from its first page on
_CACHE_PAGES = 9  # of /etc/ld.so.cache where this was measured
_STACK_PAGES = 33

# (pages of 4 KiB, prot, offset in pages of 4 KiB, label); a label of None: anonymous, "": a hole
_Part = tuple[int, int, int, str | None]
_PROGRAM: tuple[_Part, ...] = (
    (1, 1, 0, "/program"), (1, 5, 1, "/program"), (1, 1, 2, "/program"), (1, 1, 2, "/program"), (1, 3, 3, "/program"),
)  # fmt: skip
_LIBRARIES: tuple[_Part, ...] = (  # from low to high, the last ends at mmap_base
    (3, 3, 0, None),
    (0x26, 1, 0, _LIBC), (0x156, 5, 0x26, _LIBC), (0x53, 1, 0x17C, _LIBC), (4, 1, 0x1CF, _LIBC), (2, 3, 0x1D3, _LIBC),
    (0xD, 3, 0, None),
    (_CACHE_PAGES, 0, 0, ""),
    (2, 3, 0, None),
    (4, 1, 0, "[vvar]"), (2, 1, 0, "[vvar_vclock]"), (2, 5, 0, "[vdso]"),
    (1, 1, 0, _LOADER), (0x26, 5, 1, _LOADER), (0xA, 1, 0x27, _LOADER), (2, 1, 0x31, _LOADER), (2, 3, 0x33, _LOADER),
)  # fmt: skip


@dataclass(frozen=True)
class Mapping:
    """One line of /proc/PID/maps: [start, end), PROT_* bits, shared or private, offset in bytes, name or None."""

    start: int
    end: int
    prot: int
    shared: bool = False
    offset: int = 0
    label: str | None = None


@dataclass(frozen=True)
class Image:
    """A process at its start: mappings from low to high, the break, where top-down placement begins, and where the C
    library keeps main_arena and mp_ (0: it is not known)."""

    mappings: tuple[Mapping, ...]
    brk: int
    mmap_base: int
    main_arena: int = 0
    mp: int = 0

    def begin(self, space: AddressSpace) -> tuple[int, int]:
        """Give an empty address space these mappings; where main_arena and mp_ are."""
        space.set_layout(self.mmap_base, self.brk)
        for m in self.mappings:
            space.restore_vma(m.start, m.end, m.prot, 1 if m.shared else 2, m.offset, m.label)
        return (self.main_arena, self.mp) if self.main_arena else libc_data(space)


def libc_data(space: AddressSpace) -> tuple[int, int]:
    """Two pages for main_arena and mp_ of a program that has no C library where they could lie."""
    data = int(space.vm_mmap(0, 2 * space.page_size, 3, 0x22, None, 0))
    return data + (_MAIN_ARENA & 0xFFF), data + (_MP & 0xFFF)


def small_program(page_size: int = 4096, task_size: int = 0x7FFFFFFFF000, cache_pages: int = _CACHE_PAGES) -> Image:
    """The image of a small program, each part rounded up to whole pages of `page_size` bytes.

    cache_pages: of /etc/ld.so.cache, whose place new mappings fill first; pages of 4 KiB.
    """
    page = page_size
    libraries = tuple((cache_pages, *part[1:]) if part[3] == "" else part for part in _LIBRARIES)
    bias = task_size // 3 * 2 & -page
    program = _laid(_PROGRAM, bias, page)
    brk = program[-1].end
    base = task_size - (128 << 20) & -page
    library = _laid(libraries, base - _span(libraries, page), page)
    stack = Mapping(task_size - _up(_STACK_PAGES << 12, page), task_size, 3, label="[stack]")
    data = next(m for m in library if m.label == _LIBC and m.prot == 3)
    inside = _MAIN_ARENA - (0x1D3 << 12), _MP - (0x1D3 << 12)
    return Image((*program, *library, stack), brk, base, data.start + inside[0], data.start + inside[1])


def _laid(parts: tuple[_Part, ...], start: int, page: int) -> list[Mapping]:
    found = []
    for pages, prot, offset, label in parts:
        end = start + _up(pages << 12, page)
        if label != "":
            found.append(Mapping(start, end, prot, False, _up(offset << 12, page), label))
        start = end
    return found


def _span(parts: tuple[_Part, ...], page: int) -> int:
    return sum(_up(pages << 12, page) for pages, *_ in parts)


def _up(size: int, page: int) -> int:
    return -(-size // page) * page


_LINE = re.compile(r"([0-9a-f]+)-([0-9a-f]+) ([r-])([w-])([x-])([ps]) ([0-9a-f]+) \S+ \d+ *(.*)")


def image_of(maps: str, brk: int, main_arena: int = 0, mp: int = 0) -> Image:
    """The image of a real process: the text of its /proc/PID/maps and its break. UserError: no such text."""
    mappings = []
    for line in maps.splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            raise UserError(f"{line[:60]!r} is no line of /proc/PID/maps")
        start, end, r, w, x, share, offset, name = match.groups()
        if name != "[vsyscall]":
            prot = (r == "r") + 2 * (w == "w") + 4 * (x == "x")
            mappings.append(Mapping(int(start, 16), int(end, 16), prot, share == "s", int(offset, 16), name or None))
    below = [mapping.end for mapping in mappings if mapping.label != "[stack]"]
    if not below:
        raise UserError("a process has mappings: this text of /proc/PID/maps is empty")
    return Image(tuple(mappings), brk, max(below), main_arena, mp)
