# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where the mappings of a process lie when its main() begins: an image, and the image of a real process as it is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from memtwin.errors import UserError
from memtwin.kernel.addrspace import AddressSpace
from memtwin.libc.malloc import MAIN_ARENA_OFFSET, MP_OFFSET


@dataclass(frozen=True)
class Begun:
    """What the C library of a process finds: where main_arena and mp_ are, and its release, "" when nothing says it."""

    main_arena: int
    mp: int
    release: str = ""


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
    """A process at its start: mappings from low to high, the break, where top-down placement begins, where the C
    library keeps main_arena and mp_ (0: it is not known), and which release it is ("": that is not known)."""

    mappings: tuple[Mapping, ...]
    brk: int
    mmap_base: int
    main_arena: int = 0
    mp: int = 0
    release: str = ""

    def begin(self, space: AddressSpace) -> Begun:
        """Give an empty address space these mappings."""
        space.set_layout(self.mmap_base, self.brk)
        for m in self.mappings:
            space.restore_vma(m.start, m.end, m.prot, 1 if m.shared else 2, m.offset, m.label)
        found = (self.main_arena, self.mp) if self.main_arena else libc_data(space)
        return Begun(*found, self.release)


def libc_data(space: AddressSpace) -> tuple[int, int]:
    """Two pages for main_arena and mp_ of a program that has no C library where they could lie; where they are."""
    data = int(space.vm_mmap(0, 2 * space.page_size, 3, 0x22, None, 0))
    return data + MAIN_ARENA_OFFSET, data + MP_OFFSET


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
