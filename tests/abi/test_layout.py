# SPDX-License-Identifier: LGPL-2.1-or-later
import secrets

import pytest

from memtwin.abi.layout import fields, lay_out
from memtwin.abi.model import ILP32, LP64
from memtwin.abi.order import best_order
from memtwin.abi.parse import parse_records
from memtwin.errors import UserError
from memtwin.verify.declarations import compare, verify_layouts


def only(text, model=LP64):
    return lay_out(parse_records(text, model)[-1])


@pytest.mark.parametrize("model", ["LP64", "ILP32"])
def test_random_declarations_lie_as_gcc_lays_them(model):
    seed = secrets.token_hex(4)
    print(f"seed {seed}")
    assert verify_layouts(seed, 300, model) == []


@pytest.mark.parametrize("model", [LP64, ILP32])
@pytest.mark.parametrize(
    "text",
    [
        "struct a { char c; long long l; };",
        "struct a { char c; double d; long double e; };",
        "struct a { int x : 3; int : 0; int y : 5; };",
        "struct a { char c; int x : 30; long long z : 40; };",
        "struct __attribute__((packed)) a { char c; int x : 30; double d; };",
        "struct a { char c; int x : 30; double d; } __attribute__((packed, aligned(4)));",
        "#pragma pack(push, 2)\nstruct a { char c; int i; double d; };\n#pragma pack(pop)",
        "union a { char c[7]; short s; int bits : 20; };",
        "enum colour { RED, GREEN = 300, };\nstruct a { enum colour c; char d[GREEN]; };",
        "struct a { enum __attribute__((packed)) { A = 200 } e; char x; };",
        "struct a { unsigned m : 17; union { long long l : 64 __attribute__((aligned(2))); } u; };",
        "struct a { char c; long long l : 64 __attribute__((aligned(2))); };",
        "struct a { unsigned short a, b __attribute__((aligned(8))), c; };",
        "struct a { struct { char x; union { int i; char c[5]; }; } in[3]; char tail[]; };",
    ],
)
def test_each_rule_as_gcc_has_it(model, text):
    assert list(compare([text], model)) == []


def test_standard_names_and_typedefs_are_known():
    layout = only("#include <stdint.h>\ntypedef uint16_t port; struct a { port p; size_t n; struct a *next; };")
    assert [(f.path, f.offset) for f in fields(layout)] == [("p", 0), ("n", 8), ("next", 16)]


def test_holes_are_what_no_member_covers():
    layout = only("struct a { char c; int i; short s; };")
    assert layout.holes() == [(8, 24), (80, 16)]
    assert layout.padding == 5


@pytest.mark.parametrize(
    ("text", "size", "best"),
    [
        ("struct a { char c; double d; short s; int i; };", 24, 16),
        ("struct a { char c[3]; char *p; char d; };", 24, 16),
        ("struct a { double d; int i; };", 16, 16),
        ("struct a { char c; int x : 31; char d; int y : 1; };", 12, 8),
        ("struct a { int n; char c; double v[]; };", 8, 8),
    ],
)
def test_the_best_order_is_as_small_as_any(text, size, best):
    record = parse_records(text)[-1]
    found = best_order(record)
    assert (lay_out(record).size, found.layout.size, found.least) == (size, best, True)
    assert sorted(m.name for m in found.layout.record.members) == sorted(m.name for m in record.members)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("struct a { int x }", "line 1, column"),
        ("struct a {\n  int x;\n  unknown y;\n};", "line 3, column"),
        ("struct a { struct b c; };", "struct b is not complete"),
        ("struct a { int x : 40; };", "a bit-field of 40 bits"),
        ("struct a { int x[-1]; };", "-1 elements"),
        ("struct a { int x[1 / 0]; };", "division by zero"),
        ("struct a { int x __attribute__((aligned(3))); };", "aligned(3)"),
        ("#define N 3\nstruct a { int x[N]; };", "cc -E"),
        ("struct a { char x[1ull << 63][8]; };", "larger than any object"),
        ("int f(void) { return 1; }", "a function"),
        ("struct a { void x; };", "void"),
        ("struct a { int x; }; struct a { int y; };", "a second time"),
        ("struct a { int x[]; int y; };", "must come last"),
        ("struct a { " * 3000, "never closed"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text, words):
    with pytest.raises(UserError) as error:
        [lay_out(record) for record in parse_records(text)]
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_whatever_the_text_it_is_laid_out_or_refused():
    import random

    seed = secrets.randbits(32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    parts = ["struct", "union", "enum", "a", "b", "{", "}", ";", "int", "char", "x", ":", "3", "[", "]", "(", ")", "*",
             ",", "__attribute__", "((packed))", "aligned(8)", "#pragma pack(1)\n", "typedef", "sizeof", "= 1", "'", '"',
             "\n", "\x1b[31m", "\u2028", "/*", "//", "\\\n", "?", "offsetof(", "_Static_assert"]  # fmt: skip
    for _ in range(1500):
        text = " ".join(draw.choice(parts) for _ in range(draw.randint(1, 25)))
        try:
            for record in parse_records(text):
                best_order(record)
        except UserError as error:
            assert str(error).isprintable()
