# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where the members of a struct or union lie: gcc's rules for x86 (gcc/stor-layout.cc, place_field).

All places are counted in bits, because bit-fields begin anywhere. An ordinary member goes to the next multiple of its
alignment. A bit-field follows the one before it without a gap unless it would then lie across more units of its
type's alignment than its type itself takes; one of width 0 closes the unit. A named bit-field gives the struct the
alignment of its type, an unnamed one does not. Packed members are aligned to a byte, packed bit-fields to a bit.
"""

from __future__ import annotations

from dataclasses import dataclass

from memtwin.abi.ctype import Aligned, Array, Member, Record, Type
from memtwin.errors import UserError

BYTE, WORD = 8, 64  # bits
MAX_BYTES = 1 << 62
CACHE_LINE = 64


@dataclass(frozen=True, slots=True)
class Place:
    """Where a member lies: `bit` counts from the start of the record, `bits` is its width; align in bytes."""

    member: Member
    bit: int
    bits: int
    align: int

    @property
    def offset(self) -> int:
        """Its first byte."""
        return self.bit // BYTE

    @property
    def size(self) -> int:
        """Bytes from its first to its last."""
        return -(-(self.bit + self.bits) // BYTE) - self.offset


@dataclass(frozen=True, slots=True)
class Layout:
    """A record laid out. places: in the order of the declaration; size and align in bytes."""

    record: Record
    places: tuple[Place, ...]
    size: int
    align: int

    def holes(self) -> list[tuple[int, int]]:
        """Bits that no member covers, as (first, count), in order; those at the end are the last hole."""
        spans = sorted((place.bit, place.bit + place.bits) for place in self.places if place.bits)
        found, at = [], 0
        for first, end in spans:
            if first > at:
                found.append((at, first - at))
            at = max(at, end)
        if at < self.size * BYTE:
            found.append((at, self.size * BYTE - at))
        return found

    @property
    def padding_bits(self) -> int:
        """All holes together."""
        return sum(count for _, count in self.holes())

    @property
    def padding(self) -> int:
        """Whole bytes of padding."""
        return self.padding_bits // BYTE

    def crossing(self, line: int = CACHE_LINE) -> list[Place]:
        """Members no larger than a cache line that lie across two, when the record starts at one."""
        return [
            place for place in self.places
            if 0 < place.size <= line and place.offset // line != (place.offset + place.size - 1) // line
        ]  # fmt: skip


def size_of(kind: Type) -> int:
    """sizeof, bytes. UserError: more than an object can have, or an incomplete type."""
    if isinstance(kind, Array):
        size = size_of(kind.element) * kind.count
    elif isinstance(kind, Aligned):
        size = size_of(kind.type)
    elif isinstance(kind, Record):
        size = lay_out(kind).size
    else:
        size = kind.size
    if size > MAX_BYTES:
        raise UserError(f"a type of {size} bytes is larger than any object can be")
    return size


def align_of(kind: Type) -> int:
    """Alignment of a member of this type, bytes."""
    if isinstance(kind, Array):
        return align_of(kind.element)
    if isinstance(kind, Aligned):
        return kind.align
    if isinstance(kind, Record):
        return lay_out(kind).align
    return kind.align


def lay_out(record: Record) -> Layout:
    """The layout of a struct or union. UserError: its body was never given."""
    if not record.complete:
        raise UserError(f"{record.title} is declared but not defined: its members are not known")
    if record.laid_out is None:
        record.laid_out = _lay_out(record)
    return record.laid_out  # type: ignore[no-any-return]


def _lay_out(record: Record) -> Layout:
    end, align, places = 0, 1, []
    for member in record.members:
        place, needs = _place(record, member, 0 if record.kind == "union" else end)
        places.append(place)
        end = max(end, place.bit + place.bits)
        align = max(align, needs)
    align = max(align, record.align)
    size = _up(-(-end // BYTE), align)
    if size > MAX_BYTES:
        raise UserError(f"{record.title} has {size} bytes, more than any object can have")
    return Layout(record, tuple(places), size, record.typedef_align or align)


def _place(record: Record, member: Member, at: int) -> tuple[Place, int]:
    """Where the next member goes when `at` bits are taken, and the alignment that it asks of the record."""
    if member.bits is not None:
        return _place_bits(record, member, at)
    align = member_align(record, member)
    bit = _up(at, align * BYTE)
    return Place(member, bit, size_of(member.type) * BYTE, align), align


def member_align(record: Record, member: Member) -> int:
    """Alignment of an ordinary member in `record`: of its type and its attributes, within packed and #pragma pack."""
    packed = member.packed or record.packed
    if packed:
        align = member.align or 1
    else:
        align = max(align_of(member.type), member.align)
    return min(align, record.pack) if record.pack else align


def _place_bits(record: Record, member: Member, at: int) -> tuple[Place, int]:
    bits = member.bits or 0
    unit = align_of(member.type)
    if bits == 0:  # neither packed nor #pragma pack is heeded
        bit = _up(at, max(unit, member.align) * BYTE)
        return Place(member, bit, 0, unit), 1
    packed = member.packed or record.packed
    asked = member.align
    if asked and not packed and bits == WORD and at % WORD == 0:
        asked = max(asked, WORD // BYTE)  # i386 aligns a long long member to 4, but not one with an attribute
    if record.pack:
        asked = min(asked, record.pack)
    bit = _up(at, asked * BYTE) if asked else at
    if not packed and not record.pack and _spans_too_much(bit, bits, unit * BYTE, size_of(member.type) * BYTE):
        bit = _up(bit, unit * BYTE)
    needs = 1 if packed else unit
    if record.pack:
        needs = min(unit, record.pack)
    if not member.name:
        return Place(member, bit, bits, 1), 1
    return Place(member, bit, bits, max(needs, asked)), max(needs, asked)


def _spans_too_much(bit: int, bits: int, unit: int, size: int) -> bool:
    """Whether a bit-field would touch more units of its type's alignment than an object of its type does."""
    touched = (bit + bits + unit - 1) // unit - bit // unit
    return touched > size // unit


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


@dataclass(frozen=True, slots=True)
class Field:
    """A member with its place in the outermost record. depth: how deep it is nested; path: "inner.x"."""

    path: str
    depth: int
    place: Place
    bit: int

    @property
    def offset(self) -> int:
        """Its first byte in the outermost record."""
        return self.bit // BYTE


def fields(layout: Layout, prefix: str = "", depth: int = 0, base: int = 0) -> list[Field]:
    """All members, those of a nested record behind that record; members of array elements are left out."""
    found = []
    for place in layout.places:
        path = f"{prefix}{place.member.name}"
        found.append(Field(path, depth, place, base + place.bit))
        kind = place.member.type.type if isinstance(place.member.type, Aligned) else place.member.type
        if isinstance(kind, Record):
            inner = f"{path}." if place.member.name else prefix
            found += fields(lay_out(kind), inner, depth + 1, base + place.bit)
    return found
