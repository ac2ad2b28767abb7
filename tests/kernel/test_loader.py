# SPDX-License-Identifier: LGPL-2.1-or-later
"""The twin's execve against the real one: mappings, stack and heap start of a process that has not run yet."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from tests.kernel.programs import BUILDS, build, find_programs

from memtwin.errors import ExecError
from memtwin.host.exec import stopped_at_exec
from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.loader import Program, load_program
from memtwin.kernel.machine import Machine
from memtwin.kernel.procfs import maps

ENV = {"PATH": "/usr/bin:/bin", "LANG": "C"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("programs")


def loaded(path: str, argv: Sequence[str] | None = None, env: Mapping[str, str] = ENV) -> tuple[AddressSpace, Program]:
    space = AddressSpace(Machine(), window_bits=32)
    return space, load_program(space, path, argv, env)


def compare(path: str, argv: Sequence[str], env: Mapping[str, str] = ENV) -> None:
    """Maps to the byte; start_brk; the whole stack but its random bytes; the auxiliary vector."""
    space, program = loaded(path, argv, env)
    with stopped_at_exec([path, *argv[1:]], env) as pid:
        real = Path(f"/proc/{pid}/maps").read_text()
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        auxv = Path(f"/proc/{pid}/auxv").read_bytes()
        with open(f"/proc/{pid}/mem", "rb") as memory:
            memory.seek(program.stack_pointer)
            stack = memory.read(space.task_size - program.stack_pointer)
    real = "".join(line + "\n" for line in real.splitlines() if not line.endswith("[vsyscall]"))
    assert maps(space) == real
    start_code, end_code, start_stack = (int(fields[field - 3]) for field in (26, 27, 28))
    assert (program.brk_start, space.start_stack) == (int(fields[47 - 3]), start_stack)
    assert (space.start_code, space.end_code) == (start_code, end_code)
    words = struct.unpack(f"{len(auxv) // 8}Q", auxv)
    kept = dict(zip(words[::2], words[1::2], strict=True))
    assert list(kept.values())[: len(program.auxiliary)] == list(program.auxiliary.values())
    random = program.auxiliary["AT_RANDOM"] - program.stack_pointer
    mine = space.read(program.stack_pointer, len(stack))
    assert mine[:random] + mine[random + 16 :] == stack[:random] + stack[random + 16 :]


@pytest.mark.parametrize("path", find_programs(), ids=os.path.basename)
def test_system_programs(path: str) -> None:
    compare(path, [path, "--an-argument", "another"])


@pytest.mark.parametrize("name", BUILDS)
def test_own_builds(name: str, place: Path) -> None:
    path = str(build(name, place))
    compare(path, [path])


@pytest.mark.parametrize("size", [1, 15, 16, 17, 3000, 4070, 100_000])
def test_the_stack_with_arguments_of_every_alignment(size: int) -> None:
    compare("/bin/cat", ["/bin/cat", "x" * size, "", "y"], {**ENV, "E": "z" * (size // 3)})


def test_the_stack_with_a_large_environment_and_with_many_pointers() -> None:
    compare("/bin/cat", ["/bin/cat"], {f"A{i}": "x" * 100_000 for i in range(6)})
    compare("/bin/cat", ["/bin/cat", *["a"] * 40_000], {})


FIRST_LINES = {
    "plain": "#!/bin/cat\n", "argument": "#! /bin/cat \t -A -B  \nrest", "env": "#!/usr/bin/env python3\n",
    "no newline": "#!/bin/cat", "long": "#!/bin/cat " + "x" * 400, "path too long": "#!/" + "x" * 400,
    "nothing": "#!\n", "blanks": "#!   \t\n", "missing": "#!/no/such\n", "no ELF": "#!/etc/passwd\n",
    "zero byte": "#!/bin/cat\0 x\n", "zero in argument": "#!/bin/cat a\0b\n",
}  # fmt: skip


@pytest.mark.parametrize("name", FIRST_LINES)
def test_scripts_start_their_interpreter(name: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(FIRST_LINES[name])
    script.chmod(0o755)
    same_start_or_error(str(script))


def test_scripts_that_interpret_scripts(tmp_path: Path) -> None:
    previous = "/bin/cat"
    for level in range(8):
        script = tmp_path / f"script{level}"
        script.write_text(f"#!{previous} {level}\n")
        script.chmod(0o755)
        previous = str(script)
        same_start_or_error(previous)


def same_start_or_error(path: str) -> None:
    try:
        with stopped_at_exec([path, "more"], ENV):
            pass
    except ExecError as theirs:
        with pytest.raises(ExecError) as ours:
            loaded(path, [path, "more"])
        assert (ours.value.errno, ours.value.killed) == (theirs.errno, theirs.killed)
    else:
        compare(path, [path, "more"])
