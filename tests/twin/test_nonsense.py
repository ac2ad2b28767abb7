# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every public method with arguments that nobody should give: C's answer, or a line that says what is wrong.

Never an empty error, an error from inside, an endless run, or a machine whose structures no longer hold together.
"""

from __future__ import annotations

import inspect
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from memtwin import Machine, MemtwinError, Process, UserError
from memtwin.kernel.check import validate_machine

NONSENSE = (
    None,
    1.5,
    "x",
    b"x",
    True,
    (),
    -1,
    0,
    1,
    1 << 31,
    1 << 47,
    (1 << 47) - 1,
    (1 << 63) - 1,
    (1 << 64) - 1,
    1 << 70,
)
MODELS = ("heap", "heaps", "start")  # take no numbers
METHODS = sorted(
    name for name, value in inspect.getmembers(Process, callable) if not name.startswith("_") and name not in MODELS
)
SECONDS = 20


@contextmanager
def in_time() -> Iterator[None]:
    def late(*_: Any) -> None:
        raise TimeoutError(f"a call took {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def validate(machine: Machine) -> None:
    validate_machine(machine.kernel, [one.space for one in machine.processes.values() if one.ended is None])


def try_call(process: Process, name: str, arguments: list[Any]) -> Any:
    try:
        with in_time():
            return getattr(process, name)(*arguments)
    except (MemtwinError, TypeError, ValueError) as error:
        assert str(error).isprintable() or not isinstance(error, MemtwinError)
        assert str(error)
    return None


def arguments_for(name: str, block: int, dice: random.Random) -> list[Any]:
    """A value for each parameter without a default, and for some with one: nonsense, or a block."""
    known = inspect.signature(getattr(Process, name)).parameters.values()
    places = [one for one in list(known)[1:] if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    wanted = [one for one in places if one.default is one.empty]
    count = dice.randint(len(wanted), len(places))
    return [block if dice.random() < 0.5 else dice.choice(NONSENSE) for _ in range(count)]


@pytest.mark.parametrize("name", METHODS)
def test_each_method_alone(name: str) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    for _ in range(12):
        machine = Machine(ram="64 MiB", swap="4 MiB")
        process = machine.spawn()
        arguments = arguments_for(name, process.malloc(100), dice)
        print(name, arguments)
        try_call(process, name, arguments)
        validate(machine)


def test_one_after_the_other() -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    machine = Machine(ram="64 MiB", swap="4 MiB")
    for step in range(600):
        living = list(machine.processes.values()) or [machine.spawn()]
        process = dice.choice(living[:4])
        name = dice.choice(METHODS)
        if name == "fork" and len(living) > 3:
            continue
        block = try_call(process, "malloc", [dice.choice((24, 5000, 200_000))]) or 0
        arguments = arguments_for(name, block, dice)
        print(step, process.pid, name, arguments)
        try_call(process, name, arguments)
        if step % 20 == 0:
            validate(machine)
    validate(machine)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"ram": 1.5}, "1.5 is no size"),
        ({"swap": None}, "None is no size"),
        ({"profile": 6}, "no kernel profile 6"),
        ({"glibc": 2.36}, "give the release as text"),
        ({"glibc": "9.9", "program": "/bin/cat"}, "glibc '9.9' is not modelled"),
        ({"cpus": 0}, "0 processors: from 1 to"),
    ],
)
def test_what_makes_no_machine_and_no_process(wanted: dict[str, Any], words: str) -> None:
    machine = {name: value for name, value in wanted.items() if name in ("ram", "swap", "profile")}
    with pytest.raises(UserError) as error:
        Machine(**machine).spawn(**{name: value for name, value in wanted.items() if name not in machine})
    assert words in str(error.value)


def test_who_the_oom_killer_took_has_ended_at_once() -> None:
    machine = Machine(ram="16 MiB")
    victim, other = machine.spawn(), machine.spawn()
    block = victim.malloc(9 << 20)
    victim.memset(block, 1, 9 << 20)
    assert victim.ended is None
    block = other.malloc(8 << 20)
    other.memset(block, 1, 8 << 20)
    assert "Out of memory: Killed process" in str(victim.ended)
    assert "ended: Out of memory" in repr(victim)
    assert other.ended is None
