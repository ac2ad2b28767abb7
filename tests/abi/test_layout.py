# SPDX-License-Identifier: LGPL-2.1-or-later
import secrets
import subprocess

import pytest

from memtwin.abi.layout import fields, lay_out
from memtwin.abi.model import ILP32, LP64
from memtwin.abi.order import best_order
from memtwin.abi.parse import parse_records
from memtwin.errors import UserError
from memtwin.verify.declarations import compare, compare_all, verify_layouts


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
        "struct a { enum __attribute__((packed)) e { A = 200 } e; enum e f; char x; enum e g : 3; };",
        "struct a { enum e { A = 1ull << 40 } b; char c; enum e f; };",
        "struct a { unsigned m : 17; union { long long l : 64 __attribute__((aligned(2))); } u; };",
        "struct a { char c; long long l : 64 __attribute__((aligned(2))); };",
        "struct a { unsigned short a, b __attribute__((aligned(8))), c; };",
        "struct a { struct { char x; union { int i; char c[5]; }; } in[3]; char tail[]; };",
        "struct a { char c; int v __attribute__((vector_size(8))); char d; short w __attribute__((vector_size(16))); };",
        "struct a { char c; char y[3] __attribute__((vector_size(4))); int *p __attribute__((vector_size(16))); };",
        "struct a { char c; int x __attribute__((mode(QI))); int y __attribute__((__mode__(__DI__))); };",
        "struct a { int x __attribute__((mode(word))); char c; float w __attribute__((mode(XF))); };",
        "struct a { _Alignas(double) char c; _Alignas(int) _Alignas(32) char d; char e; };",
        "struct a { char c; __float128 f; char d; _Decimal64 e; char g; _Float64 h; _Float32x i; _Float64x j; };",
        "struct a { char c; __builtin_va_list v; char d; long double _Complex z; };",
        "struct a { int x __attribute__((aligned(sizeof(long)))); char y[sizeof(\"a\\n\\x41\")]; char z[1 ? 'a' : 2]; };",
        "struct a { __typeof__(short) x; typeof(char) y; __typeof(long) z; };",
        '_Pragma("pack(push, 1)") struct a { char c; int x; }; _Pragma("pack(pop)")',
        "struct a { char c; [[gnu::aligned(16)]] int x, y; char d [[gnu::aligned(8)]], e; };",
        "struct [[gnu::packed]] a { char c; int x; };",
        "struct a { int x; \\\n char y; };",
        "struct a { _Atomic int x; _Atomic(char) y; int *restrict z; };",
        "typedef struct { int x; char y; } a __attribute__((aligned(32)));",
        "typedef union { unsigned char b[16]; long long d[2]; } __attribute__((packed, aligned(4))) a;",
        "static inline int f(int x) { if (x) { return 1; } return 2; } struct a { char c; int x; };",
    ],
)
def test_each_rule_as_gcc_has_it(model, text):
    assert list(compare([text], model)) == []


INCLUDED = "stdint.h stddef.h stdalign.h stdarg.h stdio.h dirent.h pthread.h semaphore.h uchar.h wchar.h netinet/in.h sys/resource.h sys/statvfs.h"
NAMES = """int_least16_t int_least64_t uint_fast8_t uint_fast16_t int_fast32_t uint_fast64_t max_align_t va_list FILE wchar_t char16_t
char32_t pthread_t pthread_mutex_t pthread_cond_t pthread_rwlock_t pthread_barrier_t pthread_attr_t pthread_key_t pthread_once_t
pthread_spinlock_t sem_t rlim_t fsblkcnt_t in_addr_t timer_t useconds_t dev_t ino_t nlink_t mode_t off_t time_t socklen_t __u32
__le16 __be64 __s8""".split()


def includes(model, text=INCLUDED):
    """What the preprocessor makes of these headers. Skips where they are missing for the model."""
    source = "#define _GNU_SOURCE\n#include <linux/types.h>\n" + "".join(
        f"#include <{name}>\n" for name in text.split()
    )
    width = "-m64" if model is LP64 else "-m32"
    done = subprocess.run(
        ["gcc", width, "-E", "-x", "c", "-"], input=source, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"gcc {width} has no headers here: apt install gcc-multilib")
    return done.stdout


@pytest.mark.parametrize("model", [LP64, ILP32], ids=lambda model: model.name)
def test_the_headers_names_are_as_wide_as_there(model):
    text = includes(model)
    declared = "struct a { " + "".join(f"char c{i}; {name} m{i}; " for i, name in enumerate(NAMES)) + "};"
    count, wrong = compare_all(declared, text + declared, model)
    assert (count, wrong) == (1, [])


@pytest.mark.parametrize("model", [LP64, ILP32], ids=lambda model: model.name)
def test_what_the_preprocessor_makes_of_headers(model):
    """The output of cc -E as it is: functions, asm names, attributes, GNU's types and all."""
    text = includes(model, "pthread.h signal.h ucontext.h elf.h netinet/tcp.h complex.h sys/user.h linux/fs.h")
    count, wrong = compare_all(text, text, model)
    assert wrong == []
    assert count > 100


def test_an_enum_of_a_fixed_type_is_as_wide():
    layout = only(
        "enum small : unsigned char { A, B }; struct a { enum small s; enum : long { C } l; enum small t : 3; };"
    )
    assert [(f.path, f.offset, f.place.bits) for f in fields(layout)] == [("s", 0, 8), ("l", 8, 64), ("t", 16, 3)]


def test_older_code_may_call_anything_bool():
    layout = only("typedef enum { false, true } bool; struct a { bool b; char nullptr; };")
    assert [(f.path, f.offset) for f in fields(layout)] == [("b", 0), ("nullptr", 4)]


def test_offsetof_is_a_constant():
    outer = "struct b { char c; struct { int i[4]; struct { short s[3]; }; } in; };"
    layout = only(outer + "struct a { char x[__builtin_offsetof(struct b, in.i[2])], y[offsetof(struct b, in)]; };")
    assert [one.place.size for one in fields(layout)] == [12, 4]


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
        ("struct a { int x; } __attribute__((ms_struct));", "line 1, column 21: ms_struct"),
        ("struct a { _BitInt(7) x; };", "line 1, column 12: _BitInt"),
        ("struct a { _Complex _Float32 x; };", "line 1, column 12: _Complex _Float32"),
        ("struct a { int x __attribute__((vector_size(12))); };", "vector_size(12)"),
        ("struct a { int x __attribute__((mode(V4SI))); };", "mode(V4SI)"),
        ("struct a { struct b { int y; } x __attribute__((vector_size(16))); };", "a number's type"),
        ("struct b { int x : 3; }; struct a { char c[offsetof(struct b, x)]; };", "no member 'x' that has an offset"),
        ("struct a { int [[gnu::packed] x; };", "[[ without its ]]"),
        ("int f(void) { return 1; ", "never closed"),
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
