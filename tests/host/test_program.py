# SPDX-License-Identifier: LGPL-2.1-or-later
"""Programs of every kind are told apart before they are started."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from memtwin.errors import UserError
from memtwin.host.program import find_program


def script(path: Path, text: str, mode: int = 0o755) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_program_is_found_as_execvp_finds_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script(tmp_path / "mine", "#!/bin/sh\n")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    found = find_program(["mine", "-x"])
    assert (found.path, found.arguments, found.obstacle) == (str(tmp_path / "mine"), ("mine", "-x"), None)


@pytest.mark.parametrize("command", [[], [""], ["no-such-program-here"], ["/no/such/program"], ["/tmp"], ["/dev/null"]])
def test_what_is_no_program(command: list[str]) -> None:
    with pytest.raises(UserError) as stop:
        find_program(command)
    assert "\n" not in str(stop.value)


def test_a_file_that_may_not_be_executed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="permission denied"):
        find_program([str(script(tmp_path / "x", "#!/bin/sh\n", 0o644))])


def test_a_script_without_first_line_runs_in_the_shell(tmp_path: Path) -> None:
    path = script(tmp_path / "x", "echo $1\n")
    found = find_program([str(path), "a"])
    assert (found.path, found.arguments) == ("/bin/sh", ("sh", str(path), "a"))


def test_a_script_whose_interpreter_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="interpreter /no/such/one"):
        find_program([str(script(tmp_path / "x", "#!/no/such/one -x\n"))])


def test_scripts_that_interpret_each_other(tmp_path: Path) -> None:
    path = script(tmp_path / "x", f"#!{tmp_path}/x\n")
    with pytest.raises(UserError, match="interpret each other"):
        find_program([str(path)])


def test_the_interpreter_of_an_interpreter_decides(tmp_path: Path, static: Path) -> None:
    inner = script(tmp_path / "inner", f"#!{static}\n")
    assert "static" in str(find_program([str(script(tmp_path / "x", f"#!{inner}\n"))]).obstacle)


@pytest.fixture
def static(tmp_path: Path) -> Path:
    (tmp_path / "s.c").write_text("int main(void) { return 7; }\n")
    subprocess.run(["cc", "-static", "s.c", "-o", "static"], cwd=tmp_path, check=True)
    return tmp_path / "static"


def test_a_static_program(static: Path) -> None:
    assert "statically linked" in str(find_program([str(static)]).obstacle)


def patched(source: Path, target: Path, offset: int, data: bytes) -> Path:
    """A copy of an ELF file with some bytes replaced."""
    text = bytearray(source.read_bytes())
    text[offset : offset + len(data)] = data
    target.write_bytes(text)
    target.chmod(0o755)
    return target


def test_a_program_for_another_machine(tmp_path: Path) -> None:
    path = patched(Path("/bin/true"), tmp_path / "x", 18, struct.pack("<H", 183))  # e_machine: EM_AARCH64
    assert "for aarch64" in str(find_program([str(path)]).obstacle)


def test_a_32_bit_program() -> None:
    from importlib.resources import files

    player = files("memtwin") / "host" / "player32"
    if not player.is_file():
        pytest.skip("player32 is not built (uncompiled run)")
    assert "32-bit program for i386" in str(find_program([str(player)]).obstacle)


def test_a_file_that_is_broken_off(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(Path("/bin/true").read_bytes()[:40])
    path.chmod(0o755)
    with pytest.raises(UserError, match="no program"):
        find_program([str(path)])


@pytest.mark.parametrize(("mode", "word"), [(0o4755, "setuid"), (0o2755, "setgid")])
def test_a_program_with_the_rights_of_another(tmp_path: Path, mode: int, word: str) -> None:
    if os.getuid():
        pytest.skip("not root: cannot make a program of another user")
    path = Path(shutil.copy("/bin/true", tmp_path / "x"))
    os.chown(path, 1, 1)
    path.chmod(mode)
    assert word in str(find_program([str(path)]).obstacle)


def test_a_setuid_program_of_ones_own_is_no_obstacle(tmp_path: Path) -> None:
    path = Path(shutil.copy("/bin/true", tmp_path / "x"))
    path.chmod(0o4755)
    assert find_program([str(path)]).obstacle is None
