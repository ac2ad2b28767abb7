# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two runs of one sequence held against each other: the first difference, in words."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from itertools import zip_longest
from typing import NamedTuple

from memtwin.verify.observation import Observation, Seen, SeenProcess
from memtwin.verify.operations import Operation, Outcome


class Difference(NamedTuple):
    """Where twin and host part. step: index of the operation after which it shows; field: what differs, such as
    "result" or "maps"; detail: both sides' values, a line or more each."""

    step: int
    operation: Operation
    field: str
    detail: str

    def __str__(self) -> str:
        return f"step {self.step}: {self.operation}\n  {self.field} differs\n{self.detail}"


def format_result(result: int) -> str:
    """A system call's result as strace writes it: an errno's name, or the number."""
    return f"-{errno.errorcode[-result]}" if -result in errno.errorcode else hex(result)


def compare_outcomes(step: int, operation: Operation, twin: Outcome, host: Outcome) -> Difference | None:
    """The first field in which two outcomes differ; maps must have been renamed before."""
    if twin == host:
        return None
    for field, ours, theirs in zip(Outcome._fields, twin, host, strict=True):
        if ours != theirs:
            return Difference(step, operation, field, _detail(field, ours, theirs))
    return None


def _detail(field: str, ours: object, theirs: object) -> str:
    if field == "maps":
        assert isinstance(ours, bytes) and isinstance(theirs, bytes)
        return "\n".join(_line_differences(ours.decode().splitlines(), theirs.decode().splitlines()))
    if field == "result" and isinstance(ours, int) and isinstance(theirs, int):
        return f"  twin {format_result(ours)}\n  host {format_result(theirs)}"
    if isinstance(ours, int) and isinstance(theirs, int):
        return f"  twin {ours:#x}\n  host {theirs:#x}" if field == "address" else f"  twin {ours}\n  host {theirs}"
    return f"  twin {ours!r}\n  host {theirs!r}"


def _line_differences(twin: list[str], host: list[str]) -> Iterator[str]:
    for line in twin:
        if line not in host:
            yield f"  twin {line}"
    for line in host:
        if line not in twin:
            yield f"  host {line}"


def compare_observations(step: int, operation: Operation, twin: Observation, host: Observation) -> Difference | None:
    """The first difference in what is seen of the processes' pages."""
    if twin == host:
        return None
    lines = []
    fields = []
    for process in sorted(set(twin) | set(host)):
        for field, line in _process_differences(twin.get(process), host.get(process)):
            fields.append(field)
            lines.append(f"  process {process}: {line}")
    return Difference(step, operation, fields[0] if fields else "observation", "\n".join(lines[:40]))


def _process_differences(twin: SeenProcess | None, host: SeenProcess | None) -> Iterator[tuple[str, str]]:
    if twin is None or host is None:
        yield "processes", f"lives {'on the host' if twin is None else 'on the twin'} only"
        return
    for (name, ours), (_, theirs) in zip(twin.status, host.status, strict=True):
        if ours != theirs:
            yield name, f"{name} twin {ours}, host {theirs}"
    for one, other in zip_longest(twin.vmas, host.vmas):
        yield from _vma_differences(one, other)


def _vma_differences(twin: Seen | None, host: Seen | None) -> Iterator[tuple[str, str]]:
    if twin is None or host is None or twin.head != host.head:
        yield "smaps", f"twin {_head(twin)}, host {_head(host)}"
        return
    for (name, ours), (_, theirs) in zip(twin.sizes, host.sizes, strict=True):
        if ours != theirs:
            yield name, f"{_head(twin)}: {name} twin {ours}, host {theirs}"
    if twin.flags != host.flags:
        only = sorted(twin.flags - host.flags), sorted(host.flags - twin.flags)
        yield "VmFlags", f"{_head(twin)}: VmFlags only on the twin {only[0]}, only on the host {only[1]}"
    if twin.pages != host.pages:
        for name, line in _page_differences(twin, host):
            yield name, f"{_head(twin)}: {line}"


def _page_differences(twin: Seen, host: Seen) -> Iterator[tuple[str, str]]:
    ours = {page[0]: page[1:] for page in twin.pages}
    theirs = {page[0]: page[1:] for page in host.pages}
    absent = (0, 0, 0)
    for page in sorted(set(ours) | set(theirs)):
        one, other = ours.get(page, absent), theirs.get(page, absent)
        if one[0] != other[0]:
            yield "pagemap", f"page {page}: state twin {_state(one[0])}, host {_state(other[0])}"
        elif one[2] != other[2]:
            yield "map count", f"page {page}: map count twin {one[2]}, host {other[2]}"
        elif one[1] != other[1]:
            yield "frames", f"page {page}: frame twin #{one[1]}, host #{other[1]} (in order of appearance)"


def _state(bits: int) -> str:
    names = {63: "present", 62: "swapped", 61: "file", 58: "guard", 56: "exclusive"}
    return "+".join(name for bit, name in names.items() if bits >> bit & 1) or "absent"


def _head(vma: Seen | None) -> str:
    return "nothing" if vma is None else vma.head.decode().split(" ", 1)[0]
