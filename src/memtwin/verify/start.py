# SPDX-License-Identifier: LGPL-2.1-or-later
"""A real program's start on twin and host: its layout after execve, then every memory call it makes.

The twin loads the same ELF file and performs the calls that strace saw the program make; layout and each result must
be equal. What was seen can be kept, so that the calls can be replayed where strace or the program is missing:

    {"profile": {"release": "6.18.44", …}, "programs": [{"argv": […], "maps": "…", "brk_start": n,
                                                         "calls": [[name, [argument, …], path or null, result], …]}]}
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memtwin.errors import UserError
from memtwin.host.exec import stopped_at_exec
from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.flags import MAP_ANONYMOUS
from memtwin.kernel.loader import load_program
from memtwin.kernel.machine import Machine
from memtwin.kernel.procfs import maps
from memtwin.verify.golden import profile
from memtwin.verify.strace import Call, record

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C"}
_START_BRK = 47  # field of /proc/PID/stat, proc_pid_stat(5)
_WORD = (1 << 64) - 1
_ARGUMENTS = {"mremap": 5}
_MOST_SHOWN = 5


@dataclass(frozen=True)
class Recording:
    """What the host made of a program. maps: after execve, without [vsyscall]; brk_start: where the heap begins."""

    argv: tuple[str, ...]
    maps: str
    brk_start: int
    calls: tuple[Call, ...]


@dataclass(frozen=True)
class Mismatch:
    """A call whose result differs; the twin's in `twin`."""

    number: int
    call: Call
    twin: int

    def __str__(self) -> str:
        words = ", ".join(map(hex, self.call.arguments))
        where = f" of {self.call.path}" if self.call.path else ""
        return f"call {self.number}: {self.call.name}({words}){where} = {self.call.result:#x}, twin {self.twin:#x}"


@dataclass
class StartReport:
    """What came of one program. layout: lines of maps that only one side has, "host …" or "twin …"."""

    argv: tuple[str, ...]
    calls: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    layout: list[str] = field(default_factory=list)
    mismatches: list[Mismatch] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not self.layout and not self.mismatches

    def __str__(self) -> str:
        kinds = ", ".join(f"{name} {count}" for name, count in sorted(self.counts.items()))
        wrong = len(self.mismatches)
        head = f"{' '.join(self.argv)}: layout {'equal' if not self.layout else 'differs'}, "
        head += f"{self.calls - wrong} of {self.calls} calls equal ({kinds})"
        shown = [str(one) for one in self.mismatches[:_MOST_SHOWN]]
        return "\n".join([head, *(f"  {line}" for line in self.layout + shown)])


def record_start(argv: Sequence[str], env: Mapping[str, str] = ENVIRONMENT) -> Recording:
    """Run a program twice on the host: stopped at its start, and under strace. UserError when either cannot be."""
    with stopped_at_exec(argv, env) as pid:
        text = Path(f"/proc/{pid}/maps").read_text()
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    lines = [line for line in text.splitlines() if not line.endswith("[vsyscall]")]
    calls = record(argv, env)
    return Recording(tuple(argv), "\n".join(lines) + "\n", int(fields[_START_BRK - 3]), tuple(calls))


def verify_start(recording: Recording, env: Mapping[str, str] = ENVIRONMENT) -> StartReport:
    """Load the program in the twin, compare the layout, replay the calls."""
    space = AddressSpace(Machine(), window_bits=32)
    load_program(space, recording.argv[0], recording.argv, env)
    layout = _differing_lines(maps(space), recording.maps)
    if space.brk_start != recording.brk_start:
        layout.append(f"host heap starts at {recording.brk_start:#x}, twin {space.brk_start:#x}")
    report = replay_calls(space, recording)
    report.layout = layout
    return report


def replay_recording(recording: Recording) -> StartReport:
    """The calls alone, from the recorded layout: no file of the recording machine is needed."""
    space = AddressSpace(Machine(), window_bits=32)
    space.set_layout(space.mmap_base, recording.brk_start)
    for line in recording.maps.splitlines():
        words = line.split(None, 5)
        start, end = (int(part, 16) for part in words[0].split("-"))
        prot = sum(bit for letter, bit in zip("rwx", (1, 2, 4), strict=True) if letter in words[1])
        label = words[5] if len(words) > 5 else None
        space.restore_vma(start, end, prot, 0x21 if "s" in words[1] else 0x22, int(words[2], 16), label)
    return replay_calls(space, recording)


def replay_calls(space: AddressSpace, recording: Recording) -> StartReport:
    """Perform the recorded calls and compare each result."""
    report = StartReport(recording.argv, len(recording.calls), dict(Counter(call.name for call in recording.calls)))
    for number, call in enumerate(recording.calls):
        result = _perform(space, call)
        if result != call.result:
            report.mismatches.append(Mismatch(number, call, result))
    return report


def _perform(space: AddressSpace, call: Call) -> int:
    """One call on the twin. A call that strace shows with fewer arguments left the others out of account."""
    arguments: list[Any] = [value & _WORD for value in call.arguments]
    arguments += [0] * (_ARGUMENTS.get(call.name, 0) - len(arguments))
    if call.name == "mmap":
        arguments[2:4] = call.arguments[2:4]
        arguments[4] = None if arguments[3] & MAP_ANONYMOUS else _file(space, call)
    method: Callable[..., int] = getattr(space, f"sys_{call.name}")
    return int(method(*arguments))


def _file(space: AddressSpace, call: Call) -> Any:
    """The file that a call maps: one on disk of just the size that the call needs, so that recordings do without."""
    if call.path is None:
        return space.machine.closed
    return space.machine.disk_file(b"", call.path)


def _differing_lines(twin: str, host: str) -> list[str]:
    """Lines of two maps texts that are not in both."""
    ours, theirs = twin.splitlines(), host.splitlines()
    return [f"host {line}" for line in theirs if line not in ours] + [
        f"twin {line}" for line in ours if line not in theirs
    ]


def write_recordings(path: Path, recordings: Iterable[Recording]) -> None:
    """Keep recordings, with what of the kernel they depend on."""
    programs = [
        {"argv": one.argv, "maps": one.maps, "brk_start": one.brk_start, "calls": one.calls} for one in recordings
    ]
    with gzip.GzipFile(path, "wb", compresslevel=9, mtime=0) as file:
        file.write(json.dumps({"profile": profile(), "programs": programs}, separators=(",", ":")).encode())


def read_recordings(path: Path) -> list[Recording]:
    """Recordings kept before. UserError when the file holds none."""
    try:
        with gzip.open(path) as file:
            whole = json.load(file)
        return [
            Recording(
                tuple(one["argv"]), one["maps"], one["brk_start"],
                tuple(Call(name, tuple(words), place, result) for name, words, place, result in one["calls"]),
            )
            for one in whole["programs"]
        ]  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: no recorded program starts: {error}") from None
