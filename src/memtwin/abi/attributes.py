# SPDX-License-Identifier: LGPL-2.1-or-later
"""Attributes and #pragma pack, which the C parser does not know or not apply: found in the text, noted, blanked out.

GNU's __attribute__((…)), C23's [[gnu::…]], _Alignas, _Pragma("pack(…)").

What is left is plain C of the same length, so that places in error messages stay right. The notes are keyed by where
they belong, in the order in which a parser meets it: the n-th `{` of a struct, union or enum, its m-th declarator.

    struct __attribute__((packed)) S { int a __attribute__((aligned(8))), b; } __attribute__((aligned(16)));
           `-- body 0 -----------'     `-- body 0, declarator 0 --'            `-- body 0 ---------------'
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise

from memtwin.errors import UserError

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*|/\*.*?\*/)
      | (?P<pragma>\#[^\n]*)
      | (?P<word>[A-Za-z_]\w*)
      | (?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
      | (?P<number>\.?\d(?:[eEpP][+-]|[\w.])*)
      | (?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)
_WORDS = {"__attribute__", "__attribute", "_Alignas", "alignas"}
_ASM = {"asm", "__asm__", "__asm"}  # behind a declarator: its name for the linker
_COMPLEX = ("_Complex", "__complex__", "__complex")
_IGNORED = set("__extension__ __restrict __restrict__ __inline __inline__ __const __volatile__ __signed__".split())
_SPELLED = {
    "__typeof__": "typeof", "__typeof": "typeof", "__builtin_offsetof": "offsetof", "__alignof__": "_Alignof",
    "__alignof": "_Alignof", "__complex__": "_Complex", "__complex": "_Complex",
}  # fmt: skip
_ELSEWHERE = {"ms_struct": "Microsoft's rules for bit-fields", "_BitInt": "integers of any width"}
_PACK = re.compile(r"#\s*pragma\s+pack\s*\(([^)]*)\)\s*")
_PRAGMA = re.compile(r'\s*"\s*(.*?)\s*"\s*')
_MARGIN = 40
_FAR = 400  # tokens, as far as attributes between a name and what follows it are looked through


@dataclass(slots=True)
class Note:
    """What attributes say of one thing. aligned: expressions, "" for the largest useful alignment; vector: of
    vector_size, bytes as an expression; mode: a machine mode, "DI"."""

    packed: bool = False
    aligned: list[str] = field(default_factory=list)
    vector: str = ""
    mode: str = ""

    @property
    def text(self) -> str:
        """The note as attributes in C, with a space before them; "" when there are none."""
        words = ["packed"] if self.packed else []
        words += [f"aligned({number})" if number else "aligned" for number in self.aligned]
        words += [f"{name}({value})" for name, value in (("vector_size", self.vector), ("mode", self.mode)) if value]
        return f" __attribute__(({', '.join(words)}))" if words else ""


@dataclass(slots=True)
class Body:
    """A struct's, union's or enum's body: notes on it, on its declarators in order; #pragma pack where it closes."""

    note: Note = field(default_factory=Note)
    declarators: list[Note] = field(default_factory=list)
    pack: int = 0


@dataclass(slots=True)
class Scanned:
    """The text without what the parser does not know, and the notes."""

    text: str
    bodies: list[Body] = field(default_factory=list)
    outer: list[Note] = field(default_factory=list)  # of the declarators outside of any body


@dataclass(slots=True)
class _Open:
    """A declaration list being read: of the file, or of a body. shared: notes before a declaration's first name."""

    notes: list[Note]
    body: Body | None = None
    shared: Note = field(default_factory=Note)
    current: Note = field(default_factory=Note)
    first: int = 0  # in `notes`, the first declarator of this declaration
    named: bool = False
    empty: bool = True
    closed: Body | None = None  # a body that has just closed: attributes that follow at once are its
    bracket: int = 0


class Scanner:
    """Reads `text` once; `scan` gives the result. UserError with the place: brackets that do not match, bad pragmas."""

    def __init__(self, text: str) -> None:
        self.text = text = text.replace("\\\n", " \n")  # lines that go on in the next
        self.tokens = [(m.lastgroup or "", m.group(), m.start()) for m in _TOKEN.finditer(text)]
        self.out = list(text)
        self.at = 0
        self.done = Scanned("")
        self.stack: list[_Open] = [_Open(self.done.outer)]
        self.keyword: Note | None = None  # after struct or union: the note of the body to come
        self.tagged = False  # and its tag has been read
        self.before = ""  # the last token that was no space and no attribute
        self.braces: list[bool] = []
        self.pack, self.packs = 0, [0]

    def scan(self) -> Scanned:
        """The notes and the text without them."""
        while self.at < len(self.tokens):
            kind, word, place = self.tokens[self.at]
            self.at += 1
            if kind == "space":
                if word.strip():
                    self._blank(place, word)
            elif kind == "pragma":
                self._pragma(place, word)
            elif word in _IGNORED:
                self._blank(place, word)
            elif word in _WORDS:
                self._attribute(place, word)
            elif word in _ASM and self._next() == "(":
                self._blank(place, self.text[place : self._bracketed(place)[1]])
            elif word in _COMPLEX and self._next().startswith("_Float"):
                self._complex(place, word)
            elif word == "_Pragma":
                self._pragma_word(place)
            elif word == "[" and self._next() == "[":
                self._double_brackets(place)
            elif word in _ELSEWHERE and kind == "word":
                raise UserError(f"{where(self.text, place)}: {word}: {_ELSEWHERE[word]} are not laid out here")
            else:
                self._respell(place, word)
                self._plain(kind, word, place)
        if self.braces:
            raise UserError("a { is never closed")
        self.done.text = "".join(self.out)
        return self.done

    def _plain(self, kind: str, word: str, place: int) -> None:
        here = self.stack[-1]
        if self.keyword is not None and word == ":" and self._underlying():
            return
        if self.keyword is not None and word != "{":
            if kind != "word" or self.tagged:
                self.keyword = None
            self.tagged = True
        if word in ("struct", "union", "enum") and kind == "word":
            self.keyword, self.tagged = Note(), False
        elif word == "{" and self.keyword is None and not self.braces and self.before == ")":
            self._body(place)
        elif word == "{":
            self._open()
        elif word == "}":
            self._close(place)
        elif word in ("(", "["):
            here.bracket += 1
        elif word in (")", "]"):
            here.bracket -= 1
        elif word == ";" and not here.bracket:
            self._end_declaration(here)
        elif word == "," and not here.bracket and not (self.braces and not self.braces[-1]):
            self._end_declarator(here)
        elif kind == "word" and self.keyword is None:
            here.named = here.named or _declares(self.tokens, self.at)
        if word not in ("{", "}"):
            here.closed = None
        if word not in (";", "}"):
            here.empty = False
        self.before = word

    def _body(self, place: int) -> None:
        """A function's body says nothing of layouts: the function counts as declared."""
        depth, end = 1, len(self.text)
        while self.at < len(self.tokens) and depth:
            _, word, end = self.tokens[self.at]
            depth += (word == "{") - (word == "}")
            self.at += 1
        if depth:
            raise UserError("a { is never closed")
        self._blank(place, self.text[place : end + 1])
        self.out[place] = ";"
        self._end_declaration(self.stack[-1])

    def _open(self) -> None:
        if self.keyword is None:
            self.braces.append(False)  # an initializer
            return
        body = Body(self.keyword)
        self.keyword = None
        self.done.bodies.append(body)
        self.stack.append(_Open(body.declarators, body))
        self.braces.append(True)

    def _close(self, place: int) -> None:
        if not self.braces:
            raise UserError(f"{where(self.text, place)}: a }} that closes nothing")
        if self.braces.pop():
            inner = self.stack.pop()
            assert inner.body
            inner.body.pack = self.pack
            self.stack[-1].closed = inner.body

    def _end_declarator(self, here: _Open) -> None:
        here.notes.append(here.current)
        here.current = Note()
        here.named = True

    def _end_declaration(self, here: _Open) -> None:
        self.keyword = None
        if not here.empty:
            self._end_declarator(here)
            for note in here.notes[here.first :]:
                note.packed |= here.shared.packed
                note.aligned += here.shared.aligned
                note.vector = note.vector or here.shared.vector
                note.mode = note.mode or here.shared.mode
        here.first = len(here.notes)
        here.shared, here.current = Note(), Note()
        here.named, here.empty = False, True

    def _attribute(self, place: int, word: str) -> None:
        content, end = self._bracketed(place)
        self._blank(place, self.text[place:end])
        if "lignas" in word:
            self._note().aligned.append(content)
        else:
            self._take(place, _attributes(content.strip().removeprefix("(").removesuffix(")")))

    def _double_brackets(self, place: int) -> None:
        """C23's attributes; gcc's own are of the name space gnu."""
        depth, start = 1, self.at
        while self.at < len(self.tokens) and depth:
            depth += {"[": 1, "]": -1}.get(self.tokens[self.at][1], 0)
            self.at += 1
        end = self.tokens[self.at - 1][2] + 1
        inner = self.text[self.tokens[start][2] : end].strip()
        if depth or not re.fullmatch(r"\[.*\]\s*\]", inner, re.DOTALL):
            raise UserError(f"{where(self.text, place)}: [[ without its ]]")
        self._blank(place, self.text[place:end])
        named = _attributes(inner[1:-1].strip().removesuffix("]"))
        gnu = re.compile(r"(__gnu__|gnu)\s*::\s*")
        self._take(place, [(gnu.sub("", name), argument) for name, argument in named if gnu.match(name)])

    def _note(self) -> Note:
        """What attributes that stand here are about."""
        here = self.stack[-1]
        if self.keyword is not None:
            return self.keyword
        if here.closed:
            return here.closed.note
        return here.current if here.named else here.shared

    def _take(self, place: int, attributes: list[tuple[str, str]]) -> None:
        note = self._note()
        for spelled, argument in attributes:
            name = spelled.strip("_")
            if name == "packed":
                note.packed = True
            elif name == "aligned":
                note.aligned.append(argument)
            elif name == "vector_size":
                note.vector = argument
            elif name == "mode":
                note.mode = argument.strip("_")
            elif name in _ELSEWHERE:
                raise UserError(f"{where(self.text, place)}: {name}: {_ELSEWHERE[name]} are not laid out here")

    def _underlying(self) -> bool:
        """Whether the type of an enum follows, up to its {; the tokens are passed then."""
        for i in range(self.at, len(self.tokens)):
            kind, word, _ = self.tokens[i]
            if word == "{" and i > self.at:
                self.at = i
                return True
            if kind not in ("word", "space"):
                break
        return False

    def _complex(self, place: int, word: str) -> None:
        """The parser knows no complex numbers of GNU's types; in the prototypes of headers they do not matter."""
        if self.braces:
            raise UserError(f"{where(self.text, place)}: {word} {self._next()}: not laid out here")
        self._blank(place, word)

    def _next(self) -> str:
        """The token after this one that is no space."""
        rest = (word for kind, word, _ in self.tokens[self.at : self.at + 2] if kind != "space")
        return next(rest, "")

    def _respell(self, place: int, word: str) -> None:
        """A GNU spelling becomes C's, in as many letters."""
        if word in _SPELLED:
            self.out[place : place + len(word)] = _SPELLED[word].ljust(len(word))

    def _bracketed(self, place: int) -> tuple[str, int]:
        """What stands in the brackets that follow, and where they end; the tokens are passed."""
        depth, start = 0, 0
        while self.at < len(self.tokens):
            _, word, at = self.tokens[self.at]
            self.at += 1
            if word == "(":
                depth += 1
                start = start or at + 1
            elif word == ")":
                depth -= 1
                if depth == 0:
                    return self.text[start:at], at + 1
            elif depth == 0 and word.strip():
                break
        raise UserError(f"{where(self.text, place)}: an attribute without its brackets")

    def _pragma(self, place: int, word: str) -> None:
        self._blank(place, word)
        match = _PACK.fullmatch(word.strip())
        if match:
            self._set_pack([part.strip() for part in match.group(1).split(",")], place)
        elif not re.match(r"#\s*(include|pragma|line|\d)", word):
            line = f"{where(self.text, place)}: {word.strip()[:_MARGIN]!r}"
            raise UserError(f"{line} needs the preprocessor: give the output of cc -E")

    def _pragma_word(self, place: int) -> None:
        content, end = self._bracketed(place)
        self._blank(place, self.text[place:end])
        match = _PRAGMA.fullmatch(content)
        packed = match and _PACK.fullmatch(f"#pragma {match.group(1)}")
        if packed:
            self._set_pack([part.strip() for part in packed.group(1).split(",")], place)

    def _set_pack(self, words: list[str], place: int) -> None:
        if words[0] == "push":
            self.packs.append(self.pack)
            words = words[1:]
        elif words[0] == "pop":
            self.pack = self.packs.pop() if len(self.packs) > 1 else 0
            return
        if words == [""]:
            self.pack = 0
        elif words:
            if words[-1] not in ("1", "2", "4", "8", "16"):
                raise UserError(f"{where(self.text, place)}: #pragma pack({words[-1]}): 1, 2, 4, 8 or 16 bytes")
            self.pack = int(words[-1])

    def _blank(self, place: int, text: str) -> None:
        for i in range(place, place + len(text)):
            if self.out[i] != "\n":
                self.out[i] = " "


def _declares(tokens: list[tuple[str, str, int]], at: int) -> bool:
    """Whether the word before token `at` is a declared name: attributes aside, a comma, bracket, colon … follows."""
    depth, attribute = 0, False
    words = [word for kind, word, _ in tokens[at : at + _FAR] if kind != "space"]
    for word, after in pairwise((*words, "")):
        if word in _WORDS or (word == after == "[" and not depth):
            attribute = True
        if attribute and word in ("(", ")", "[", "]"):
            depth += 1 if word in "([" else -1
            attribute = depth > 0
        elif not attribute:
            return word in (",", ";", ":", "[", ")", "=")
    return False


def _attributes(content: str) -> list[tuple[str, str]]:
    """ "packed, aligned(8)" as [("packed", ""), ("aligned", "8")]."""
    inner = content.strip()
    found, depth, start = [], 0, 0
    for i, letter in enumerate(inner + ","):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            name, _, argument = inner[start:i].partition("(")
            found.append((name.strip(), argument.strip().removesuffix(")").strip()))
            start = i + 1
    return found


def where(text: str, place: int) -> str:
    """ "line 3, column 7" of an index into the text."""
    line = text.count("\n", 0, place) + 1
    return f"line {line}, column {place - text.rfind(chr(10), 0, place)}"
