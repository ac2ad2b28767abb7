# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where things lie in a C library's file: its functions, and the two variables of malloc that have no symbol.

main_arena is found by its field `next`, which the linker fills with main_arena's own address: a relocation whose place
minus its value is the field's offset, with attached_threads == 1 right behind `next_free`. mp_ is found by its first
three words, which are 128 KiB each (trim_threshold, top_pad, mmap_threshold). Both are static data of every build.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile

from memtwin.errors import UserError

# Offset of malloc_state.next by word size: up to 2.42; 2.43, which has no fastbins.
NEXT_OFFSETS = {8: (2160, 2072), 4: (1096,)}
RELATIVE = 8  # R_X86_64_RELATIVE and R_386_RELATIVE


@dataclass(frozen=True)
class Symbols:
    """Addresses relative to the library's load address. release: as the library's banner says, "2.36"; "" without."""

    functions: dict[str, int]
    main_arena: int
    mp: int
    release: str


@lru_cache
def read_symbols(library: Path) -> Symbols:
    """The symbols of a libc.so.6. UserError when malloc's variables are not found: the build is of another kind."""
    with library.open("rb") as file:
        elf = ELFFile(file)
        return Symbols(_functions(elf), _find_main_arena(elf, library), _find_mp(elf, library), _find_release(elf))


@lru_cache
def read_functions(library: Path) -> dict[str, int]:
    """Exported names and their relative addresses, of any shared library."""
    with library.open("rb") as file:
        return _functions(ELFFile(file))


def _functions(elf: Any) -> dict[str, int]:
    """Names of several versions: the default one (i386 has pthread_create of 1997 too)."""
    versions = elf.get_section_by_name(".gnu.version")
    found: dict[str, int] = {}
    for number, symbol in enumerate(elf.get_section_by_name(".dynsym").iter_symbols()):
        version = versions.get_symbol(number)["ndx"]
        hidden = isinstance(version, int) and version & 0x8000
        if symbol["st_value"] and not (hidden and symbol.name in found):
            found[symbol.name] = symbol["st_value"]
    return found


def _find_main_arena(elf: Any, library: Path) -> int:
    word = elf.elfclass // 8
    section = elf.get_section_by_name(".data")
    start, data = section["sh_addr"], section.data()
    for place in _relative_places(elf):
        if not start <= place < start + len(data) - 2 * word:
            continue
        value = _word(data, place - start, word) or _addend(elf, place)
        attached = _word(data, place - start + 2 * word, word)
        if place - value in NEXT_OFFSETS[word] and attached == 1:
            return int(value)
    raise UserError(f"{library}: no main_arena in it; is it glibc's libc.so.6?")


def _find_mp(elf: Any, library: Path) -> int:
    word = elf.elfclass // 8
    section = elf.get_section_by_name(".data")
    at: int = section.data().find(struct.pack("<3Q" if word == 8 else "<3I", 131072, 131072, 131072))
    if at < 0:
        raise UserError(f"{library}: no mp_ in it; is it glibc's libc.so.6?")
    return int(section["sh_addr"]) + at


def _find_release(elf: Any) -> str:
    """What gnu_get_libc_version() says, from the banner that csu/version.c puts into every libc."""
    banner = re.search(rb"GNU C Library .* release version (\d+\.\d+)", elf.get_section_by_name(".rodata").data())
    return banner[1].decode() if banner else ""


def _relocation_sections(elf: Any) -> list[Any]:
    return [s for s in elf.iter_sections() if s["sh_type"] in ("SHT_RELA", "SHT_REL", "SHT_RELR")]


def _relative_places(elf: Any) -> list[int]:
    places = []
    for section in _relocation_sections(elf):
        packed = section["sh_type"] == "SHT_RELR"
        places += [r["r_offset"] for r in section.iter_relocations() if packed or r["r_info_type"] == RELATIVE]
    return places


def _addend(elf: Any, place: int) -> int:
    """The value that a relocation with explicit addend puts at `place`; 0 where there is none."""
    for section in _relocation_sections(elf):
        if section["sh_type"] == "SHT_RELA":
            for r in section.iter_relocations():
                if r["r_offset"] == place:
                    return int(r["r_addend"])
    return 0


def _word(data: bytes, at: int, word: int) -> int:
    return int.from_bytes(data[at : at + word], "little")
