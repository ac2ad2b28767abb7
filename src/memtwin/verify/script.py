# SPDX-License-Identifier: LGPL-2.1-or-later
"""One script (memtwin.script) played on the twin and on the host side by side, call by call.

The twin begins as the image of the host's process: same mappings, break, C library and machine, so that every address
is equal as it stands. Compared after each call: the result, what it died of (signal, code, address, access or glibc's
message), errno, and the minor and major faults of the call; after the last one, /proc/PID/maps.

What cannot be equal, because the host draws it at random or counts it for the whole machine:

- glibc's tcache_key, which lies in the second word of a free block in a tcache: where the twin reads its own key, the
  host has to read its key, the same one every time;
- inodes and devices in maps;
- process ids;
- faults of a call that glibc ends with a message, for it maps and prints it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from memtwin.errors import Aborted, Exited, MemoryFault, UserError
from memtwin.host.libc_symbols import read_symbols
from memtwin.host.libcs import host_release
from memtwin.host.process import Process as HostProcess
from memtwin.libc.release import RELEASES
from memtwin.script import Step, parse, show_value
from memtwin.twin.environment import settings_of
from memtwin.twin.machine import Machine
from memtwin.twin.process import Process
from memtwin.twin.program import Image, image_of
from memtwin.verify.host import host_pool

_RAM = 16 << 30  # bytes: more than a script touches
LEFT_OUT = (
    "glibc's tcache_key (random)",
    "inodes and devices in maps",
    "process ids",
    "faults of a call that glibc ends with a message",
)


@dataclass(frozen=True)
class Line:
    """One call on both sides: its place in the script, the call with the twin's values, what each side answered, and
    the names of what differs."""

    line: int
    call: str
    twin: str
    host: str
    differs: tuple[str, ...] = ()


@dataclass
class Report:
    """A script that was played: its calls, in order, and whether both processes end with the same maps."""

    lines: list[Line] = field(default_factory=list)
    maps_differ: tuple[str, ...] = ()

    @property
    def differences(self) -> int:
        """How many calls, and maps, differ."""
        return sum(bool(line.differs) for line in self.lines) + bool(self.maps_differ)


def verify_script(source: str) -> Report:
    """Play `source` on both sides. UserError: it is no script, or this machine's C library is not modelled."""
    parsed = parse(source)
    report = Report()
    with HostProcess(parsed.environment) as host:
        twin = twin_of(host, parsed.environment)
        keys = _Keys(twin.libc.tcache_key)
        for one, other in zip_longest(parsed.run(twin), parsed.run(host)):
            report.lines.append(_compare(one, other, keys))
        if twin.ended is None:
            report.maps_differ = tuple(maps_differences(twin.maps(), host.maps()))
    return report


def twin_of(host: HostProcess, environment: Mapping[str, str] | None = None) -> Process:
    """A process of the twin that stands where the host's process stands: image, C library, swap of the machine, what
    the environment sets.

    UserError: the host's C library is not modelled.
    """
    release = host_release()
    if release not in RELEASES:
        raise UserError(f"this machine has glibc {release}, which is not modelled: {', '.join(RELEASES)} are")
    machine = Machine(ram=_RAM, swap=_host_swap(), profile="host", huge_pages=host_pool())
    settings = settings_of(environment or {}, release)
    return machine.spawn(glibc=release, cpus=len(os.sched_getaffinity(0)), image=host_image(host), **settings)


def host_image(host: HostProcess) -> Image:
    """The image of a process on the host."""
    maps = host.maps()
    path, base = _libc_place(maps)
    symbols = read_symbols(path)
    return image_of(maps, host.sbrk(0), base + symbols.main_arena, base + symbols.mp)


def _libc_place(maps: str) -> tuple[Path, int]:
    match = re.search(r"^([0-9a-f]+)-\S+ r\S+ 00000000 .* (/\S*/libc(?:-[\d.]+)?\.so(?:\.6)?)$", maps, re.MULTILINE)
    if match is None:
        raise UserError("the host's process has no libc.so.6 mapped: its C library is not glibc")
    return Path(match[2]), int(match[1], 16)


def _host_swap() -> int:
    """Bytes of swap of this machine."""
    match = re.search(r"^SwapTotal: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return int(match[1]) << 10 if match else 0


class _Keys:
    """Makes the random keys of free blocks in tcaches comparable; see the module's text."""

    def __init__(self, twin: int) -> None:
        self.twin = twin.to_bytes(8, "little")
        self.host: bytes | None = None

    def same(self, twin: bytes, host: bytes) -> bool:
        """Whether two readings of the same memory agree."""
        if len(twin) != len(host):
            return False
        at = twin.find(self.twin)
        while at >= 0:
            there = host[at : at + 8]
            self.host = self.host or there
            if there != self.host:
                return False
            twin = twin[:at] + there + twin[at + 8 :]
            at = twin.find(self.twin, at + 8)
        return twin == host


def _compare(twin: Step | None, host: Step | None, keys: _Keys) -> Line:
    if twin is None or host is None:
        made = twin or host
        assert made is not None
        return Line(made.line, made.text, _told(twin), _told(host), ("call",))
    sides = zip(_facts(twin).items(), _facts(host).items(), strict=True)
    differs = tuple(name for (name, one), (_, other) in sides if not _alike(one, other, keys))
    return Line(twin.line, twin.text, _told(twin), _told(host), differs)


def _alike(one: Any, other: Any, keys: _Keys) -> bool:
    return keys.same(one, other) if isinstance(one, bytes) and isinstance(other, bytes) else bool(one == other)


def _facts(step: Step) -> dict[str, Any]:
    """What is compared of a call, by name."""
    return {
        "result": step.result if isinstance(step.result, int | bytes | str | dict | None) else "a process or thread",
        "end": _end(step.error),
        "errno": step.errno,
        "minor faults": None if isinstance(step.error, Aborted) else step.minflt,
        "major faults": None if isinstance(step.error, Aborted) else step.majflt,
    }


def _end(error: Exception | None) -> str:
    if isinstance(error, MemoryFault):
        return f"signal {error.signal} code {error.code}, {error.access} at {error.address:#x}"
    if isinstance(error, Aborted):
        return f"signal 6: {error}"
    if isinstance(error, Exited):
        return f"exit {error.status}: {error}"
    return "" if error is None else str(error)


def _told(step: Step | None) -> str:
    if step is None:
        return "no call"
    known = isinstance(step.result, int | bytes | str | dict | None)
    said = _end(step.error) or ("a new process or thread" if not known else _short(step.result))
    faults = [f"{count} {name}" for count, name in ((step.minflt, "minor"), (step.majflt, "major")) if count]
    more = ([f"errno {step.errno}"] if step.errno else []) + faults
    return f"{said} ({', '.join(more)})" if more else said


def _short(value: Any) -> str:
    text = "" if value is None else show_value(value)
    return text if len(text) <= 72 else text[:69] + "..."


def maps_differences(twin: str, host: str) -> Iterator[str]:
    """Lines of maps without devices and inodes that only one side has."""
    ours, theirs = _maps_lines(twin), _maps_lines(host)
    yield from (f"twin only: {line}" for line in ours if line not in theirs)
    yield from (f"host only: {line}" for line in theirs if line not in ours)


def _maps_lines(maps: str) -> list[str]:
    found = []
    for line in maps.splitlines():
        span, access, offset, _, _, *name = line.split(None, 5)
        if name != ["[vsyscall]"]:
            found.append(" ".join([span, access, offset if name and name[0][0] == "/" else "", *name]).strip())
    return found
