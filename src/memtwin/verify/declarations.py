# SPDX-License-Identifier: LGPL-2.1-or-later
"""Random C declarations, and what the real compiler makes of them: `verify layout`.

The compiler only compiles: sizes and offsets stand in a table of constants, and the place of a bit-field shows in the
bytes of an object in which all of its bits are set. So 32-bit layouts need no 32-bit C library.
"""

from __future__ import annotations

import random
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from memtwin.abi.ctype import Record
from memtwin.abi.layout import Field, fields, lay_out
from memtwin.abi.model import DataModel, data_model
from memtwin.abi.parse import parse_records
from memtwin.errors import UserError

_SCALARS = (
    "char", "signed char", "unsigned char", "short", "unsigned short", "int", "unsigned", "long", "unsigned long",
    "long long", "unsigned long long", "float", "double", "long double", "_Bool", "void *", "char *", "double _Complex",
    "float _Complex", "enum { E%d }", "int (*%s)(int, char *)",
)  # fmt: skip
_BIT_TYPES = (("_Bool", 1), ("char", 8), ("unsigned char", 8), ("short", 16), ("unsigned short", 16), ("int", 32),
              ("unsigned", 32), ("long long", 64), ("unsigned long long", 64), ("signed char", 8))  # fmt: skip


class Declarations:
    """Random structs and unions from one seed, as C text; the n-th is always the same."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)
        self.number = 0

    def next(self) -> str:
        """One more declaration, of `struct S` or `union S` with its number."""
        self.number += 1
        self.names = 0
        pack = self.random.choice((0, 0, 0, 0, 1, 2, 4, 8, 16))
        kind = self.random.choice(("struct", "struct", "struct", "union"))
        body = self._record(kind, f"S{self.number}", 0)
        return f"#pragma pack(push, {pack})\n{body};\n#pragma pack(pop)" if pack else f"{body};"

    def _record(self, kind: str, tag: str, depth: int) -> str:
        before = after = ""
        attribute = self._attribute(0.25)
        if self.random.random() < 0.5:
            before = attribute
        else:
            after = attribute
        lines = [self._member(depth) for _ in range(self.random.randint(1, 9 if depth == 0 else 4))]
        if not any(self._named(line) for line in lines):
            lines.append("int last;" if depth == 0 else f"int m{self._name()};")
        if kind == "struct" and depth == 0 and self.random.random() < 0.1:
            lines.append(f"{self.random.choice(('int', 'char', 'double'))} tail[];")
        return f"{kind} {before} {tag} {{ {' '.join(lines)} }} {after}"

    @staticmethod
    def _named(line: str) -> bool:
        return " m" in line or "*m" in line

    def _name(self) -> int:
        self.names += 1
        return self.names

    def _attribute(self, chance: float) -> str:
        if self.random.random() > chance:
            return ""
        align = self.random.choice(("2", "4", "8", "16", "32", "1", "sizeof(int)"))
        return self.random.choice(
            (
                "__attribute__((packed))",
                f"__attribute__((aligned({align})))",
                f"__attribute__((packed, aligned({align})))",
                "__attribute__((__aligned__))",
                "__attribute__ ((unused))",
            )
        )

    def _member(self, depth: int) -> str:
        choice = self.random.random()
        name = f"m{self._name()}"
        if choice < 0.3:
            return self._bit_field(name)
        if choice < 0.42 and depth < 3:
            record = self._record(self.random.choice(("struct", "union")), "", depth + 1)
            return f"{record} {name if self.random.random() < 0.6 else ''};"
        kind = self.random.choice(_SCALARS)
        attribute = self._attribute(0.15)
        if "%s" in kind:
            return f"{kind % name} {attribute};"
        kind = kind.replace("%d", f"{self.number}_{self._name()}")
        size = self.random.choice(("", "", "", "", "[3]", "[2][5]", "[1 << 2]", "[0]"))
        if self.random.random() < 0.1 and "*" not in kind:
            return f"{kind} {name}, m{self._name()}{size} {attribute};"
        if self.random.random() < 0.05:
            return f"_Alignas({self.random.choice(('16', '32'))}) {kind} {name};"
        if self.random.random() < 0.2 and "*" not in kind:
            return f"{kind} {attribute} {name}{size};"
        return f"{kind} {name}{size} {attribute};"

    def _bit_field(self, name: str) -> str:
        kind, most = self.random.choice(_BIT_TYPES)
        if self.random.random() < 0.12:
            return f"{kind} : {self.random.choice((0, 0, self.random.randint(1, most)))};"
        return f"{kind} {name} : {self.random.randint(1, most)} {self._attribute(0.1)};"


@dataclass(frozen=True, slots=True)
class Wrong:
    """A declaration that the twin lays out otherwise than the compiler."""

    text: str
    what: str


def compare(texts: list[str], model: DataModel, compiler: str = "gcc") -> Iterator[Wrong]:
    """The declarations of which the compiler makes something else. UserError: there is no such compiler."""
    yield from _compare([(parse_records(text, model)[0], text) for text in texts], texts, model, compiler)


def compare_all(text: str, source: str, model: DataModel, compiler: str = "gcc") -> tuple[int, list[Wrong]]:
    """All records of `text`, which is `source` as its preprocessor makes it: how many, and those that differ.; not
    those without a name.
    """
    records = [one for one in parse_records(text, model) if one.name and not one.name.startswith("(")]
    return len(records), list(_compare([(one, one.title) for one in records], [source], model, compiler))


def _compare(told: list[tuple[Record, str]], source: list[str], model: DataModel, compiler: str) -> Iterator[Wrong]:
    records = [record for record, _ in told]
    named = [[one for one in fields(lay_out(record)) if one.place.member.name] for record in records]
    real = _ask(source, records, named, model, compiler)
    for number, (record, text) in enumerate(told):
        layout = lay_out(record)
        ours = {"sizeof": layout.size, "_Alignof": layout.align}
        ours |= {one.path: one.bit for one in named[number]}
        theirs = {name: real.get((number, name), -1) for name in ours}
        differing = [f"{name} {ours[name]}, {compiler} {theirs[name]}" for name in ours if ours[name] != theirs[name]]
        if differing:
            yield Wrong(text, f"{record.title}: {'; '.join(differing)} (offsets in bits)")


def _ask(
    texts: list[str], records: list[Record], named: list[list[Field]], model: DataModel, compiler: str
) -> dict[tuple[int, str], int]:
    """What the compiler says, by number of the text and name: sizes in bytes, places in bits."""
    source, keys = [*texts], []
    table = []
    for number, record in enumerate(records):
        for what in ("sizeof", "_Alignof"):
            keys.append((number, what))
            table.append(f"{what}({record.title})")
        for one in named[number]:
            if one.place.member.bits is None:
                keys.append((number, one.path))
                table.append(f"8 * __builtin_offsetof({record.title}, {one.path})")
            else:
                source.append(f"{record.title} bits_{number}_{one.path.replace('.', '_')} = {{ .{one.path} = -1 }};")
    source.append(f"const unsigned long long table[] = {{ {', '.join(table)} }};")
    with tempfile.TemporaryDirectory() as folder:
        elf = _compile("\n".join(source), model, compiler, Path(folder))
        values = memoryview(elf["table"]).cast("Q")
        found = {key: int(value) for key, value in zip(keys, values, strict=True)}
        for number, listed in enumerate(named):
            for one in listed:
                if one.place.member.bits is not None:
                    found[number, one.path] = _first_bit(elf[f"bits_{number}_{one.path.replace('.', '_')}"])
    return found


def _first_bit(data: bytes) -> int:
    value = int.from_bytes(data, "little")
    return (value & -value).bit_length() - 1


def _compile(source: str, model: DataModel, compiler: str, folder: Path) -> dict[str, bytes]:
    """The bytes of the objects that `source` defines, by name."""
    width = "-m32" if model.pointer.size == 4 else "-m64"
    code, target = folder / "layout.c", folder / "layout.o"
    code.write_text(source)
    options = [width, "-std=gnu2x", "-w", "-c", "-fno-common", "-fno-zero-initialized-in-bss"]
    try:
        done = subprocess.run(
            [compiler, *options, str(code), "-o", str(target)], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise UserError(f"no compiler {compiler!r}: apt install gcc") from None
    if done.returncode:
        raise UserError(f"{compiler} refuses the declarations: {done.stderr.splitlines()[0] if done.stderr else ''}")
    with target.open("rb") as file:
        elf = ELFFile(file)
        symbols = elf.get_section_by_name(".symtab")
        assert isinstance(symbols, SymbolTableSection)
        found = {}
        for symbol in symbols.iter_symbols():
            if symbol["st_info"]["type"] == "STT_OBJECT":
                data = elf.get_section(symbol["st_shndx"]).data()
                found[symbol.name] = data[symbol["st_value"] :][: symbol["st_size"]]
    return found


def verify_layouts(seed: str, count: int, model_name: str, batch: int = 200) -> list[Wrong]:
    """`count` random declarations against gcc; those that differ."""
    model = data_model(model_name)
    source = Declarations(f"{seed}:{model_name}")
    wrong: list[Wrong] = []
    for start in range(0, count, batch):
        texts = [source.next() for _ in range(min(batch, count - start))]
        wrong += compare(texts, model)
    return wrong
