# SPDX-License-Identifier: LGPL-2.1-or-later
"""C declarations to records: structs and unions with arrays, bit-fields, nesting, typedefs, enums and GNU attributes.

The grammar is pycparser's; what it does not know of attributes and #pragma pack, attributes.py has taken out. The
names of the standard headers' types are known, so that `uint32_t` needs no #include, and #include lines are skipped.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import Any

from pycparser import c_ast, c_generator, c_parser

from memtwin.abi.attributes import Body, Note, Scanner, where
from memtwin.abi.ctype import Aligned, Array, Member, Record, Scalar, Type
from memtwin.abi.expression import evaluate, place_of
from memtwin.abi.layout import align_of, size_of
from memtwin.abi.model import LP64, DataModel, Width
from memtwin.errors import UserError

MAX_TEXT = 4 << 20
_WORD = re.compile(r"\w+")
_NEW_TYPE = re.compile(r"(?:\btypedef\b[^;]*?\b|\}\s*)(\w+)\s*[;,]", re.DOTALL)
_DECLARED = re.compile(r"(?<=[{;])\s*([A-Za-z_]\w*)\s*[*\s]\s*\w+\s*[;,\[:]")
_KEYWORDS = set("struct union enum const volatile typedef static extern register signed unsigned void char short int "
                "long float double _Bool _Complex _Atomic return goto case else sizeof do".split())  # fmt: skip
_KEYWORDS_OF_C23 = ("bool", "true", "false", "nullptr", "_Decimal32", "_Decimal64", "_Decimal128")
_GNU_ALIGNOF = re.compile(r"\b__alignof(__)?\b|\balignof\b")
_EIGHT_BYTES = re.compile(r"\b__alignof(?:__)?\s*\(\s*(?:(?:unsigned )?long long(?: int)?|double|u?int64_t)\s*\)")
_PLACE = re.compile(r"^.*?:(\d+):(\d+): (.*)$", re.DOTALL)


def parse_records(text: str, model: DataModel = LP64) -> list[Record]:
    """The structs and unions that `text` defines, in the order of their names' first use; nested ones too.

    An untagged one bears the name of its typedef or of its first variable. UserError with line and column: what is
    no C declaration, or no type whose size is known.
    """
    if len(text) > MAX_TEXT:
        raise UserError(f"{len(text)} characters of C: at most {MAX_TEXT}")
    scanned = Scanner(text).scan()
    try:
        nodes = _parse(scanned.text, model)
    except RecursionError:
        raise UserError("the declarations are nested too deeply") from None
    except (AssertionError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"the C parser gives up on this text ({type(error).__name__}: {error})") from None
    reader = _Reader(model, scanned.bodies, scanned.outer)
    try:
        return reader.read(nodes)
    except RecursionError:
        raise UserError("the declarations are nested too deeply") from None


def _parse(text: str, model: DataModel) -> list[Any]:
    """The parser's nodes. C23, or, where older code has names that are keywords by now (bool, true …), C as before."""
    failure: c_parser.ParseError | None = None
    for dialect in ("c23", "legacy"):
        names = [name for name in model.standard if dialect == "legacy" or name not in _KEYWORDS_OF_C23]
        try:
            # the parser knows a typedef only when it has seen it; line 1 begins after them
            known = _typedefs(names)
            tree = c_parser.CParser(dialect=dialect).parse(f'# 1 "known"\n{known}\n# 1 "input"\n{text}\n', "input")
            return list(tree.ext[len(names) :])
        except c_parser.ParseError as error:
            failure = failure or error
    raise UserError(_unknown_type(text, _typedefs(model.standard)) or _sentence(str(failure))) from None


def _typedefs(names: Iterable[str]) -> str:
    return "".join(f"typedef int {name};" for name in names)


def _unknown_type(text: str, known: str) -> str:
    """The sentence about a name that stands where a type must and is none; the parser gives no place for it."""
    names = set(_WORD.findall(known)) | set(_NEW_TYPE.findall(text)) | _KEYWORDS
    for match in _DECLARED.finditer(text):
        if match.group(1) not in names:
            return f"{where(text, match.start(1))}: {match.group(1)!r} is no type that is known here: add its typedef"
    return ""


def _sentence(message: str) -> str:
    """The parser's message, which quotes the text with its line breaks, with its place in words."""
    message = " ".join(message.split())
    match = _PLACE.match(message)
    if not match:
        return f"in the declarations: {message.removeprefix('input: ')}"
    return f"line {match.group(1)}, column {match.group(2)}: {match.group(3)}"


_MODES = {
    "QI": "char", "byte": "char", "HI": "short", "SI": "int", "DI": "long long", "TI": "__int128", "word": "long",
    "pointer": "pointer", "SF": "float", "DF": "double", "XF": "long double", "TF": "_Float128", "HF": "_Float16",
}  # fmt: skip


class _Reader:
    """Turns the parser's tree into records; bodies and outer notes are taken in the tree's order."""

    def __init__(self, model: DataModel, bodies: list[Body], outer: list[Note]) -> None:
        self.model = model
        self.bodies = iter(bodies)
        self.outer = iter(outer)
        self.types: dict[str, Type] = {}  # typedefs
        self.tags: dict[str, Record] = {}
        self.enums: dict[str, Scalar] = {}  # by tag
        self.constants: dict[str, int] = {}
        self.found: list[Record] = []
        self.words = c_generator.CGenerator()
        self.read_before: dict[int, Type] = {}  # by id of the node: `struct { … } a, b;` has one for both

    def read(self, nodes: list[Any]) -> list[Record]:
        """All records that the nodes define."""
        for node in nodes:
            if isinstance(node, c_ast.FuncDef):
                raise UserError(f"{place_of(node.decl)}: a function; only declarations have a layout")
            if isinstance(node, c_ast.StaticAssert):
                next(self.outer, None)
                continue
            kind = self._type(node.type, allow_void=True)
            note = next(self.outer, Note())
            kind = self._changed(kind, note, node)
            if isinstance(node, c_ast.Typedef):
                self.types[node.name] = self._typedef(kind, note, node)
            if isinstance(kind, Record) and not kind.name and node.name:
                kind.name = f"(anonymous) {node.name}" if isinstance(node, c_ast.Decl) else node.name
                kind.tagged = isinstance(node, c_ast.Decl)
                kind.typedef_align = 0 if kind.tagged else self._aligned(note, node)
        return [record for record in self.found if record.complete]

    def _typedef(self, kind: Type, note: Note, node: Any) -> Type:
        align = self._aligned(note, node)
        return Aligned(kind, align) if align else kind

    def _type(self, node: Any, allow_void: bool = False) -> Type:
        """The type that a type node means."""
        if isinstance(node, c_ast.TypeDecl):
            return self._type(node.type, allow_void)
        if isinstance(node, c_ast.PtrDecl):
            self._pointed(node.type)
            width = self.model.pointer
            return Scalar("pointer", width.size, width.align)
        if isinstance(node, c_ast.ArrayDecl):
            return self._array(node)
        if isinstance(node, (c_ast.Struct, c_ast.Union, c_ast.Enum)):
            if id(node) not in self.read_before:
                self.read_before[id(node)] = self._enum(node) if isinstance(node, c_ast.Enum) else self._record(node)
            return self.read_before[id(node)]
        if isinstance(node, c_ast.IdentifierType):
            return self._named(node, allow_void)
        if isinstance(node, c_ast.TypeOf) and isinstance(node.expr, c_ast.Typename):
            return self._type(node.expr.type, allow_void)
        if isinstance(node, c_ast.FuncDecl):
            self._pointed(node.type)
            if allow_void:
                return Scalar("function", 1, 1)
        raise UserError(f"{place_of(node)}: {self.words.visit(node)!r} is no type of an object")

    def _pointed(self, node: Any) -> None:
        """What a pointer points to matters only where it defines something."""
        while isinstance(node, (c_ast.PtrDecl, c_ast.TypeDecl, c_ast.ArrayDecl, c_ast.FuncDecl)):
            node = node.type
        if isinstance(node, (c_ast.Struct, c_ast.Union, c_ast.Enum)):
            self._type(node)

    def _array(self, node: Any) -> Array:
        count = None if node.dim is None else self._number(node.dim)
        element = self._type(node.type)
        if count is not None and count < 0:
            raise UserError(f"{place_of(node)}: an array of {count} elements")
        found = Array(element, count or 0, flexible=count is None)
        size = size_of(element)
        if size and size % align_of(element) and count != 0:
            raise UserError(f"{place_of(node)}: an element of {size} bytes cannot be aligned to {align_of(element)}")
        return found

    def _named(self, node: Any, allow_void: bool) -> Type:
        names = list(node.names)
        if len(names) == 1:
            if names[0] in self.types:
                return self.types[names[0]]
            names = self.model.standard.get(names[0], names[0]).split()
        if names == ["void"] and not allow_void:
            raise UserError(f"{place_of(node)}: nothing can be of type void")
        text = " ".join(names)
        try:
            width = self.model.type_of(text)
        except KeyError:
            raise UserError(f"{place_of(node)}: {text!r} is no type of {self.model.name}") from None
        return Scalar(text, width.size, width.align)

    def _enum(self, node: Any) -> Scalar:
        if not node.values and node.name in self.enums:
            return self.enums[node.name]
        value = low = high = 0
        packed = next(self.bodies).note.packed if node.values else False
        for one in node.values.enumerators if node.values else ():
            value = self._number(one.value) if one.value is not None else value
            self.constants[one.name] = value
            low, high = min(low, value), max(high, value)
            value += 1
        width = self.model.type_of(_holder(low, high, ("char", "short", "int") if packed else ("int",)))
        if node.underlying_type is not None:
            fixed = self._type(node.underlying_type.type)
            width = Width(size_of(fixed), align_of(fixed))
        found = Scalar(f"enum {node.name or ''}".strip(), width.size, width.align)
        if node.name:
            self.enums[node.name] = found
        return found

    def _record(self, node: Any) -> Record:
        kind = "struct" if isinstance(node, c_ast.Struct) else "union"
        record = self.tags.get(f"{kind} {node.name}") if node.name else None
        if record is None:
            record = Record(kind, node.name or "")
            if node.name:
                self.tags[record.title] = record
        if node.decls is None:
            return record
        if record.complete:
            raise UserError(f"{place_of(node)}: {record.title} is defined a second time")
        body = next(self.bodies)
        self.found.append(record)
        notes = iter(body.declarators)
        for decl in node.decls:
            self._member(record, decl, next(notes, Note()))
        record.packed, record.pack = body.note.packed, body.pack
        record.align = self._aligned(body.note, node)
        record.complete = True
        return record

    def _member(self, record: Record, decl: Any, note: Note) -> None:
        if isinstance(decl, c_ast.StaticAssert):
            return
        if not isinstance(decl, c_ast.Decl):  # struct { … }; without a name
            decl = c_ast.Decl(None, [], [], [], [], decl, None, None, decl.coord)
        kind = self._type(decl.type)
        if isinstance(kind, Record) and not decl.name and kind.name:
            return  # a tag is declared, and no member
        if isinstance(kind, Record) and not kind.complete:
            raise UserError(f"{place_of(decl)}: {kind.title} is not complete here: put its definition before it")
        before = record.members[-1] if record.members and record.kind == "struct" else None
        if before and isinstance(before.type, Array) and before.type.flexible:
            raise UserError(f"{place_of(decl)}: {before.name!r} is a flexible array and must come last")
        kind = self._changed(kind, note, decl)
        bits = None if decl.bitsize is None else self._bits(decl, kind)
        align = self._aligned(note, decl)
        text = self._declared(decl) + note.text
        record.members.append(Member(decl.name or "", kind, text, bits, align, note.packed))

    def _changed(self, kind: Type, note: Note, node: Any) -> Type:
        """The type that vector_size or mode makes of it."""
        if not note.vector and not note.mode:
            return kind
        if isinstance(kind, Array):
            return Array(self._changed(kind.element, note, node), kind.count, kind.flexible)
        plain = kind.type if isinstance(kind, Aligned) else kind
        if not isinstance(plain, Scalar):
            raise UserError(f"{place_of(node)}: vector_size and mode change a number's type; this is none")
        if plain.name == "pointer":
            return kind
        if note.mode:
            name = _MODES.get(note.mode, "")
            if name not in self.model.widths:
                raise UserError(
                    f"{place_of(node)}: mode({note.mode}): no mode that is known here for {self.model.name}"
                )
            plain = Scalar(name, *dataclasses.astuple(self.model.widths[name]))
        if not note.vector:
            return plain
        size = self._attribute_number(note.vector, node, "vector_size")
        if size <= 0 or size % plain.size or size & (size - 1):
            raise UserError(f"{place_of(node)}: vector_size({size}): a power of two of {plain.size}-byte elements")
        return Scalar(f"vector of {plain.name}", size, self.model.vector_align(size))

    def _bits(self, decl: Any, kind: Type) -> int:
        bits = self._number(decl.bitsize)
        plain = kind.type if isinstance(kind, Aligned) else kind
        if not isinstance(plain, Scalar) or plain.name in ("pointer", "float", "double", "long double"):
            raise UserError(f"{place_of(decl)}: a bit-field is of an integer type")
        limit = 1 if plain.name == "_Bool" else 8 * plain.size
        if not 0 <= bits <= limit or (bits == 0 and decl.name):
            raise UserError(f"{place_of(decl)}: a bit-field of {bits} bits: its type has 1 to {limit}")
        return bits

    def _declared(self, decl: Any) -> str:
        text = self.words.visit(decl.type if decl.name is None and decl.bitsize is None else decl)
        return re.sub(r"\s*\{.*\}", " { … }", text, flags=re.DOTALL).strip()

    def _aligned(self, note: Note, node: Any) -> int:
        """The strictest alignment that a note asks for; 0 when for none."""
        strictest = 0
        for text in note.aligned:
            align = self._alignment(text, node)
            if align & (align - 1) or not 0 < align <= 1 << 28:
                raise UserError(f"{place_of(node)}: aligned({align}): a power of two up to 2**28")
            strictest = max(strictest, align)
        return strictest

    def _alignment(self, text: str, node: Any) -> int:
        if not text:
            return self.model.max_align
        return self._attribute_number(text, node, "aligned")

    def _attribute_number(self, text: str, node: Any, what: str) -> int:
        """The value of an attribute's argument; of a type's name, as _Alignas may have it, the type's alignment.

        gcc's __alignof__ is the alignment that it prefers: of i386's numbers of 8 bytes, 8.
        """
        wide = self.model.type_of("double").size if self.model.pointer.size == 4 else 0
        text = _EIGHT_BYTES.sub(str(wide), text) if wide else text
        text = _GNU_ALIGNOF.sub("_Alignof", text)
        names = {word for word in _WORD.findall(text) if word in self.types or word in self.model.standard}
        known = _typedefs(sorted(names.difference(_KEYWORDS_OF_C23)))
        for inner in (text, f"_Alignof({text})"):
            try:
                tree = c_parser.CParser(dialect="c23").parse(f"{known} int x[{inner}];")
            except c_parser.ParseError:
                continue
            return self._number(tree.ext[-1].type.dim)
        raise UserError(f"{place_of(node)}: {what}({text[:40]}): no number")

    def _number(self, node: Any) -> int:
        return evaluate(node, self.constants, lambda kind: self._type(kind))


def _holder(low: int, high: int, names: tuple[str, ...]) -> str:
    """The first of these types that holds all values of an enum; long long when none does."""
    for name in names:
        bits = 8 * LP64.type_of(name).size
        if -(1 << (bits - 1)) <= low and high < 1 << (bits - 1 if low < 0 else bits):
            return name
    return "long long"
