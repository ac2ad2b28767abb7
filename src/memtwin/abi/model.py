# SPDX-License-Identifier: LGPL-2.1-or-later
"""Data models: how wide C's types are, and what addresses they may have.

LP64 is the System V ABI of x86-64, ILP32 that of i386 (gcc -m32). They differ in more than the pointer: i386 aligns
`double` and `long long` to 8 bytes as variables and to 4 as members (config/i386/i386.cc, x86_field_alignment).
"""

from __future__ import annotations

from dataclasses import dataclass

from memtwin.errors import UserError


@dataclass(frozen=True, slots=True)
class Width:
    """Size of a type and its alignment as a member, bytes."""

    size: int
    align: int


@dataclass(frozen=True, slots=True)
class DataModel:
    """A data model. widths: by the type's specifiers in one fixed order; standard: typedef names of the headers.

    max_align: what `__attribute__((aligned))` without a number means.
    """

    name: str
    widths: dict[str, Width]
    standard: dict[str, str]
    max_align: int = 16

    @property
    def pointer(self) -> Width:
        """Any pointer."""
        return self.widths["pointer"]

    def type_of(self, name: str) -> Width:
        """Width of a standard type by its C name, "unsigned long". KeyError when there is none."""
        return self.widths[canonical(name.split())]


def canonical(words: list[str]) -> str:
    """Type specifiers in any order as the one name that `widths` has: "long unsigned int" is "long".

    KeyError: no such combination.
    """
    rest = [word for word in words if word not in ("signed", "unsigned", "__signed__")]
    name = " ".join(sorted(rest, key=_ORDER.index)) if all(word in _ORDER for word in rest) else " ".join(rest)
    return _SPELLINGS.get(name, name)


_ORDER = ("short", "long", "int", "char", "float", "double", "_Complex")
_SPELLINGS = {
    "": "int",
    "short int": "short",
    "long int": "long",
    "long long int": "long long",
    "_Complex": "double _Complex",
}

_COMMON = {
    "void": Width(1, 1),  # sizeof (void) is 1 in GNU C
    "_Bool": Width(1, 1),
    "char": Width(1, 1),
    "short": Width(2, 2),
    "int": Width(4, 4),
    "float": Width(4, 4),
    "float _Complex": Width(8, 4),
    "__float128": Width(16, 16),
    "_Float128": Width(16, 16),
}
_LP64 = {
    **_COMMON,
    "long": Width(8, 8),
    "long long": Width(8, 8),
    "pointer": Width(8, 8),
    "double": Width(8, 8),
    "long double": Width(16, 16),
    "double _Complex": Width(16, 8),
    "long double _Complex": Width(32, 16),
    "__int128": Width(16, 16),
}
_ILP32 = {
    **_COMMON,
    "long": Width(4, 4),
    "long long": Width(8, 4),
    "pointer": Width(4, 4),
    "double": Width(8, 4),
    "long double": Width(12, 4),
    "double _Complex": Width(16, 4),
    "long double _Complex": Width(24, 4),
}
_EXACT = {
    f"{sign}int{bits}_t": f"{'unsigned ' if sign else ''}{base}"
    for sign in ("", "u")
    for bits, base in ((8, "char"), (16, "short"), (32, "int"), (64, "long long"))
}
_LP64_NAMES = {
    "unsigned long": "size_t uintptr_t ulong dev_t ino_t nlink_t",
    "long": "ssize_t ptrdiff_t intptr_t off_t time_t clock_t suseconds_t blksize_t",
    "int": "pid_t wchar_t key_t clockid_t sig_atomic_t",
    "unsigned int": "uid_t gid_t mode_t wint_t char32_t uint socklen_t id_t u_int",
    "unsigned short": "char16_t ushort sa_family_t in_port_t u_short",
    "unsigned char": "u_char",
    "long long": "intmax_t off64_t loff_t",
    "unsigned long long": "uintmax_t",
    "_Bool": "bool",
}
_LP64_STANDARD = {**_EXACT, **{name: kind for kind, names in _LP64_NAMES.items() for name in names.split()}}
_ILP32_STANDARD = {**_LP64_STANDARD, "dev_t": "unsigned long long", "nlink_t": "unsigned int", "wchar_t": "long"}

LP64 = DataModel("LP64", _LP64, _LP64_STANDARD)
ILP32 = DataModel("ILP32", _ILP32, _ILP32_STANDARD)
DATA_MODELS = {model.name: model for model in (LP64, ILP32)}


def data_model(name: str) -> DataModel:
    """The model of that name, in any case. UserError: there is none."""
    found = DATA_MODELS.get(name.upper())
    if found is None:
        raise UserError(f"data model {name!r}: there are {' and '.join(DATA_MODELS)}")
    return found
