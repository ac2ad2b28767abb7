# SPDX-License-Identifier: LGPL-2.1-or-later
"""Scripts: what runs, what is refused, and that nothing of Python can be reached through them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memtwin import script
from memtwin.errors import Aborted, UserError
from memtwin.libc.tunables import TUNABLES


class Fake:
    """A process that remembers its calls."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, tuple[object, ...]]] = []

    def malloc(self, size: int) -> int:
        self.seen.append(("malloc", (size,)))
        return 0x1000 * len(self.seen)

    def free(self, pointer: int) -> None:
        if pointer == 1:
            raise Aborted("free(): invalid pointer")
        self.seen.append(("free", (pointer,)))

    def fork(self) -> Fake:
        return Fake()

    def open(self, path: str) -> int:
        raise AssertionError("reached")

    def secret(self) -> int:
        raise AssertionError("reached")


def play(text: str) -> list[script.Step]:
    return list(script.parse(text).run(Fake()))


def test_calls_names_arithmetic_loops_and_children() -> None:
    steps = play(
        "p = malloc(8*2+PROT_READ)\nfor i in range(3):\n  q[i] = malloc(i)\nfree(q[2])\nc = fork()\nd = c.malloc(1)"
    )
    assert [step.text for step in steps] == [
        "malloc(17)", "malloc(0)", "malloc(1)", "malloc(2)", "free(16384)", "fork()", "c.malloc(1)",
    ]  # fmt: skip
    assert [step.line for step in steps] == [1, 3, 3, 3, 4, 5, 6]


def test_a_killed_process_takes_no_more_calls_and_the_others_go_on() -> None:
    steps = play("c = fork()\nfree(1)\nmalloc(1)\nc.malloc(1)")
    assert [type(step.error) for step in steps] == [type(None), Aborted, UserError, type(None)]


@pytest.mark.parametrize(
    "text",
    [
        "secret()", "open('/etc/passwd')", "open()", "open(path='x')",
        "import os", "__import__('os')", "malloc.__class__()", "().__class__", "x = lambda: 1", "print(1)",
        "p = malloc(1).__class__", "[c for c in range(3)]", "def f(): pass", "while 1: pass", "malloc(*[1])",
        "malloc(**{})", "malloc(free(1))", "p = 2.5", "p = 1 << 1000", "p = 10 ** 1000", "p = 'a' * 10000000",
        "p = 1 // 0", "free(q)", "free(q[1])", "range(3)", "for i in range(1, 2, 0):\n  malloc(1)", "p = True and 1",
        "p.malloc = 3", "a, b = 1, 2", "(" * 500 + "1" + ")" * 500, "\0", "x = f'{1}'", "del p", "c = malloc\nc.seen()",
    ],
)  # fmt: skip
def test_what_is_no_script_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError) as refusal:
        play(text)
    assert "\n" not in str(refusal.value)


def test_a_script_that_never_ends_is_stopped() -> None:
    with pytest.raises(UserError, match="stopped after"):
        play("for i in range(1 << 100):\n  pass")
    with pytest.raises(UserError, match="stopped after"):
        play("for i in range(1 << 100):\n  malloc(1)")


@given(st.text(max_size=80))
def test_any_text_either_plays_or_is_refused(text: str) -> None:
    with contextlib.suppress(UserError):
        play(text)


def test_what_stands_before_the_first_statement_is_the_environment() -> None:
    found = script.parse('# debug\nMALLOC_CHECK_ = 3\nGLIBC_TUNABLES = "glibc.malloc.mxfast=0"\np = malloc(1)')
    assert found.environment == {"MALLOC_CHECK_": "3", "GLIBC_TUNABLES": "glibc.malloc.mxfast=0"}
    assert [step.line for step in found.run(Fake())] == [4]


def test_a_script_sets_all_that_glibc_reads_and_nothing_else() -> None:
    variables = {tunable.variable for tunable in TUNABLES.values()} - {""}
    assert set(script.ENVIRONMENT) == variables | {"GLIBC_TUNABLES", "LD_PRELOAD"}


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("MALLOC_CHEK_ = 3", "line 1: MALLOC_CHEK_: a script sets GLIBC_TUNABLES, .*MALLOC_CHECK_"),
        ("MALLOC_CHECK_ = 1 + 2", "line 1: MALLOC_CHECK_ is set to one number or text"),
        ("p = malloc(1)\nMALLOC_CHECK_ = 3", "line 2: MALLOC_CHECK_: the environment is set before"),
        ("for i in range(2):\n    LD_PRELOAD = 3", "line 2: LD_PRELOAD: the environment is set before"),
    ],
)
def test_a_wrong_environment_is_told_with_its_line(source: str, told: str) -> None:
    with pytest.raises(script.ScriptError, match=told):
        script.parse(source)


def test_a_call_of_a_dead_process_has_no_faults_of_its_own() -> None:
    process = Fake()
    process.minflt = process.errno = 7  # type: ignore[attr-defined]
    steps = list(script.parse("free(1)\nmalloc(1)").run(process))
    assert [(step.minflt, step.errno) for step in steps] == [(7, 7), (0, 0)]
