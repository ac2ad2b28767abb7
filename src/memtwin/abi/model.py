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

    def vector_align(self, size: int) -> int:
        """Alignment of a vector of `size` bytes as a member; i386 has none of 8 bytes without MMX."""
        return size if size > 8 or self.name == "LP64" else min(size, 4)

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
    "_Float128": Width(16, 16),
    "_Float16": Width(2, 2),
    "_Float32": Width(4, 4),
    "_Decimal32": Width(4, 4),
    "_Decimal128": Width(16, 16),
}


def _opaque(**widths: tuple[int, int]) -> dict[str, Width]:
    """Types of the C library whose members nobody names."""
    return {name: Width(*width) for name, width in widths.items()}


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
    "_Float64": Width(8, 8),
    "_Decimal64": Width(8, 8),
    **_opaque(va_list=(24, 8), max_align_t=(32, 16), FILE=(216, 8), pthread_mutex_t=(40, 8), pthread_cond_t=(48, 8),
              pthread_rwlock_t=(56, 8), pthread_barrier_t=(32, 8), pthread_attr_t=(56, 8), sem_t=(32, 8)),
}  # fmt: skip
_ILP32 = {
    **_COMMON,
    "long": Width(4, 4),
    "long long": Width(8, 4),
    "pointer": Width(4, 4),
    "double": Width(8, 4),
    "long double": Width(12, 4),
    "double _Complex": Width(16, 4),
    "long double _Complex": Width(24, 4),
    "_Float64": Width(8, 4),
    "_Decimal64": Width(8, 8),
    **_opaque(va_list=(4, 4), max_align_t=(48, 16), FILE=(148, 4), pthread_mutex_t=(24, 4), pthread_cond_t=(48, 4),
              pthread_rwlock_t=(32, 4), pthread_barrier_t=(20, 4), pthread_attr_t=(36, 4), sem_t=(16, 4)),
}  # fmt: skip
_EXACT = {
    f"{sign}int{bits}_t": f"{'unsigned ' if sign else ''}{base}"
    for sign in ("", "u")
    for bits, base in ((8, "char"), (16, "short"), (32, "int"), (64, "long long"))
}
_LEAST = {name.replace("int", "int_least"): kind for name, kind in _EXACT.items()}
_KERNEL = {  # linux/types.h and the names that the kernel's own code uses
    f"{prefix}{bits}": f"{sign}{base}"
    for bits, base in ((8, "char"), (16, "short"), (32, "int"), (64, "long long"))
    for sign, prefixes in (("signed ", "s __s"), ("unsigned ", "u __u __le __be"))
    for prefix in prefixes.split()
    if bits > 8 or prefix[-1] != "e"
}
_LP64_NAMES = {
    "unsigned long": "size_t uintptr_t ulong dev_t ino_t nlink_t rlim_t pthread_t u_long "
                     "uint_fast16_t uint_fast32_t uint_fast64_t fsblkcnt_t fsfilcnt_t",
    "long": "ssize_t ptrdiff_t intptr_t off_t time_t clock_t suseconds_t blksize_t blkcnt_t "
            "int_fast16_t int_fast32_t int_fast64_t",
    "int": "pid_t wchar_t key_t clockid_t sig_atomic_t pthread_once_t pthread_spinlock_t",
    "unsigned int": "uid_t gid_t mode_t wint_t char32_t uint socklen_t id_t u_int pthread_key_t in_addr_t useconds_t",
    "unsigned short": "char16_t ushort sa_family_t in_port_t u_short",
    "unsigned char": "u_char uint_fast8_t char8_t",
    "signed char": "int_fast8_t",
    "long long": "intmax_t off64_t loff_t",
    "unsigned long long": "uintmax_t",
    "_Bool": "bool",
    "void": "DIR",
    "pointer": "timer_t",
    "va_list": "va_list __builtin_va_list __gnuc_va_list",
    "_Float128": "_Float128 __float128",
    "__int128": "__int128_t",
    "unsigned __int128": "__uint128_t",
    "double": "_Float32x",
    "long double": "_Float64x",
    **{name: name for name in
       "_Float16 _Float32 _Float64 _Decimal32 _Decimal64 _Decimal128 max_align_t FILE pthread_mutex_t "
       "pthread_cond_t pthread_rwlock_t pthread_barrier_t pthread_attr_t sem_t".split()},
}  # fmt: skip
_LP64_STANDARD = {
    **_EXACT,
    **_LEAST,
    **_KERNEL,
    **{name: kind for kind, names in _LP64_NAMES.items() for name in names.split()},
}
_ILP32_STANDARD = {
    **_LP64_STANDARD,
    "dev_t": "unsigned long long",
    "nlink_t": "unsigned int",
    "wchar_t": "long",
    "int_fast64_t": "long long",
    "uint_fast64_t": "unsigned long long",
}

LP64 = DataModel("LP64", _LP64, _LP64_STANDARD)
ILP32 = DataModel("ILP32", _ILP32, _ILP32_STANDARD)
DATA_MODELS = {model.name: model for model in (LP64, ILP32)}


def data_model(name: str) -> DataModel:
    """The model of that name, in any case. UserError: there is none."""
    found = DATA_MODELS.get(name.upper())
    if found is None:
        raise UserError(f"data model {name!r}: there are {' and '.join(DATA_MODELS)}")
    return found
