# SPDX-License-Identifier: LGPL-2.1-or-later
"""C's object types as far as their layout goes: scalars, arrays, structs and unions with their members."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Scalar:
    """An integer, floating, pointer or enumerated type. align: as a member of a struct."""

    name: str
    size: int
    align: int
    user_aligned: bool = False  # by an attribute of a typedef


@dataclass(frozen=True, slots=True)
class Array:
    """`count` elements in a row; count 0 for a flexible array and for GNU C's arrays of none."""

    element: Type
    count: int
    flexible: bool = False


@dataclass(frozen=True, slots=True)
class Aligned:
    """A typedef whose attribute gives the type another alignment."""

    type: Type
    align: int


@dataclass(frozen=True, slots=True)
class Member:
    """A member as declared. name: "" for an unnamed bit-field or an anonymous struct or union.

    bits: width of a bit-field, None for an ordinary member; align: of an attribute or _Alignas, 0 for none.
    """

    name: str
    type: Type
    declared: str  # the declaration for a reader, "int x[3]"
    bits: int | None = None
    align: int = 0
    packed: bool = False


@dataclass(slots=True)
class Record:
    """A struct or union. pack: what #pragma pack allows at most, 0 for no limit; align: of an attribute, 0 for none;
    typedef_align: of an attribute of the typedef that names it, which does not change its size.

    complete: False until its body is seen; laid_out: kept by layout.lay_out, for a record is often a member.
    """

    kind: str  # "struct" or "union"
    name: str
    members: list[Member] = field(default_factory=list)
    packed: bool = False
    align: int = 0
    typedef_align: int = 0
    pack: int = 0
    complete: bool = False
    tagged: bool = True  # False: `name` is that of a typedef, and no tag
    laid_out: Any = None

    @property
    def title(self) -> str:
        """ "struct point", as C names the type; "point" where only a typedef does."""
        return f"{self.kind} {self.name}" if self.tagged else self.name


Type = Scalar | Array | Aligned | Record
