# SPDX-License-Identifier: LGPL-2.1-or-later
"""Damaged ELF files: the twin refuses what Linux refuses, with the same errno, and starts what Linux starts, alike."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from tests.kernel.programs import build

from memtwin.errors import ExecError
from memtwin.host.exec import stopped_at_exec
from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.loader import load_program
from memtwin.kernel.machine import Machine
from memtwin.kernel.procfs import maps

FLIPS = 120
PT_LOAD = 1


def twins_outcome(path: str) -> str:
    """The maps of the started program, or why there are none."""
    space = AddressSpace(Machine(ram=_memory()), window_bits=32)
    try:
        load_program(space, path, [path], {})
    except ExecError as error:
        return "killed" if error.killed else f"errno {error.errno}"
    return maps(space)


def hosts_outcome(path: str) -> str:
    try:
        with stopped_at_exec([path], {}) as pid:
            text = Path(f"/proc/{pid}/maps").read_text()
    except ExecError as error:
        return "killed" if error.killed else f"errno {error.errno}"
    return "".join(line + "\n" for line in text.splitlines() if not line.endswith("[vsyscall]"))


def _memory() -> int:
    """The host's RAM: what overcommit measures a mapping against."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def damage(raw: bytes, dice: random.Random) -> bytes:
    """One to three changes in the header or the program headers: a bit, a byte, or a whole field."""
    found = bytearray(raw)
    end = 64 + 56 * int.from_bytes(raw[56:58], "little")
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(4, end)
        kind = dice.randrange(4)
        if kind == 0:
            found[at] ^= 1 << dice.randrange(8)
        elif kind == 1:
            found[at] = dice.randrange(256)
        else:
            at &= -8
            values = (
                0,
                1,
                0xFFF,
                0x1000,
                1 << 31,
                1 << 47,
                (1 << 47) - 4096,
                1 << 63,
                (1 << 64) - 1,
                dice.getrandbits(40),
            )
            found[at : at + 8] = dice.choice(values).to_bytes(8, "little")
    return bytes(found)


@pytest.mark.parametrize("name", ["bare-pie-small", "pie-small", "static-small"])
def test_damaged_files_end_as_on_linux(name: str, tmp_path: Path) -> None:
    original = build(name, tmp_path).read_bytes()
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    seen: dict[str, int] = {}
    for number in range(FLIPS):
        path = tmp_path / f"damaged-{number}"
        path.write_bytes(damage(original, dice))
        path.chmod(0o755)
        ours, theirs = twins_outcome(str(path)), hosts_outcome(str(path))
        assert ours == theirs, f"seed {seed}, file {number}"
        kind = theirs if len(theirs) < 20 else "started"
        seen[kind] = seen.get(kind, 0) + 1
        path.unlink()
    print(seen)
    assert len(seen) >= 3, seen


@pytest.mark.parametrize("address", [0, 5, 0x1005, 1 << 46, (1 << 47) - 4096, 1 << 63])
@pytest.mark.parametrize("name", ["bare-pie-small", "static-small"])
def test_an_empty_first_segment(name: str, address: int, tmp_path: Path) -> None:
    """Nothing is mapped for it: where it would be decides alone."""
    raw = bytearray(build(name, tmp_path).read_bytes())
    first = next(at for at in range(64, 64 + 56 * raw[56], 56) if raw[at] == PT_LOAD)
    raw[first + 16 : first + 24] = address.to_bytes(8, "little")
    raw[first + 32 : first + 48] = bytes(16)
    path = tmp_path / "empty"
    path.write_bytes(raw)
    path.chmod(0o755)
    assert twins_outcome(str(path)) == hosts_outcome(str(path))


@pytest.mark.parametrize("length", [0, 1, 3, 4, 16, 63, 64, 100, 255, 256, 1000])
def test_files_cut_short(length: int, tmp_path: Path) -> None:
    path = tmp_path / "short"
    path.write_bytes(Path("/bin/cat").read_bytes()[:length])
    path.chmod(0o755)
    assert twins_outcome(str(path)) == hosts_outcome(str(path))


def test_what_is_no_program(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("hello\n")
    text.chmod(0o755)
    for path in (str(text), "/etc/passwd", "/", str(tmp_path / "missing"), "/dev/null"):
        assert twins_outcome(path) == hosts_outcome(path), path
    with pytest.raises(ExecError, match=r"ENOEXEC.*not an ELF file"):
        load_program(AddressSpace(Machine(), 32), str(text))


def test_noise(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    path = tmp_path / "noise"
    for _ in range(100):
        body = bytearray(dice.randbytes(64 + 56 * 4))
        body[:4], body[16:20] = b"\x7fELF", bytes((dice.choice((2, 3)), 0, 62, 0))
        body[32:40], body[54:58] = (64).to_bytes(8, "little"), bytes((56, 0, 4, 0))
        for header in range(4):
            body[64 + 56 * header : 68 + 56 * header] = bytes((1, 0, 0, 0))
        path.write_bytes(body)
        path.chmod(0o755)
        assert twins_outcome(str(path)) == hosts_outcome(str(path)), f"seed {seed}"


def test_an_interpreter_without_a_name(tmp_path: Path) -> None:
    raw = bytearray(build("pie-small", tmp_path).read_bytes())
    at = raw.index(b"/lib64/ld-linux")
    raw[at] = 0
    path = tmp_path / "nameless"
    path.write_bytes(raw)
    path.chmod(0o755)
    assert twins_outcome(str(path)) == hosts_outcome(str(path)) == "errno 13"
