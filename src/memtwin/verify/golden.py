# SPDX-License-Identifier: LGPL-2.1-or-later
"""Golden files: what a real kernel made of sequences, kept so that the twin can be held against it anywhere.

A golden file is gzipped JSON:

    {"profile": {"release": "6.18.44", "machine": "x86_64", "thp": "madvise", …},
     "start": {"facts": […], "maps": "…", "resident": [[address, pages], …], "labels": {name: [label, identity]}},
     "sequences": [{"seed": "…", "observe_every": n, "operations": ["0 mmap …", …],
                    "outcomes": [[result, minflt, …, data, maps], …],   maps is null where it is the process's last one
                    "seen": {"40": {process: [[[head, sizes, flags, pages], …], status]}}}]}

The paths of the stage and of the scene's file are renamed, so that nothing of the recording machine is in it.
"""

from __future__ import annotations

import gzip
import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memtwin.errors import UserError
from memtwin.host.stage import Facts
from memtwin.verify.host import Host, Start
from memtwin.verify.observation import Observation, Seen, SeenProcess
from memtwin.verify.operations import Operation, Outcome, parse_script

_STAGE, _FILE = b"/memtwin/stage", b"/memtwin/scene"
_THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@dataclass(frozen=True)
class Recorded:
    """One sequence as the host played it. seen: observations by the number of operations before them."""

    seed: str
    observe_every: int
    operations: list[Operation]
    outcomes: list[Outcome]
    seen: dict[int, Observation]


class Playback:
    """Takes the host's place for one recorded sequence: plays it back in order."""

    def __init__(self, start: Start, recorded: Recorded) -> None:
        self._start = start
        self._recorded = recorded
        self._at = 0

    def restart(self) -> Start:
        """From the beginning."""
        self._at = 0
        return self._start

    revive = restart

    def play(self, operations: Sequence[Operation]) -> list[Outcome]:
        """The recorded outcomes of these operations, which must be the recorded ones."""
        begin, self._at = self._at, self._at + len(operations)
        assert list(operations) == self._recorded.operations[begin : self._at]
        return self._recorded.outcomes[begin : self._at]

    def observe(self) -> Observation:
        """What was seen after the operations played so far."""
        return self._recorded.seen[self._at]

    def disturbances(self) -> tuple[str, ...]:
        """Nothing disturbs a record."""
        return ()


def record_sequence(host: Host, seed: str, operations: Sequence[Operation], observe_every: int) -> Recorded:
    """Play on the host from a fresh start and keep everything."""
    host.restart()
    outcomes: list[Outcome] = []
    seen = {}
    for begin in range(0, len(operations), observe_every):
        outcomes += host.play(operations[begin : begin + observe_every])
        if len(outcomes) % observe_every == 0:
            seen[len(outcomes)] = host.observe()
    return Recorded(seed, observe_every, list(operations), outcomes, seen)


def profile() -> dict[str, str]:
    """What of the running kernel the outcomes depend on."""
    thp = _THP.read_text().split("[")[1].split("]")[0] if _THP.exists() else "never"
    release = platform.release().split("-")[0]
    return {"release": release, "machine": platform.machine(), "page_size": str(os.sysconf("SC_PAGE_SIZE")), "thp": thp}


def write_golden(path: Path, start: Start, sequences: Iterable[Recorded]) -> None:
    """Write a golden file of this machine."""
    names = _names(start)
    whole = {
        "profile": profile(),
        "start": {
            "facts": list(start.facts),
            "maps": _rename(start.maps, names),
            "resident": start.resident,
            "protection_keys": start.protection_keys,
            "labels": {
                name: [_rename(label.encode(), names), identity] for name, (label, identity) in start.labels.items()
            },
        },
        "sequences": [_encode(sequence, names) for sequence in sequences],
    }
    with gzip.GzipFile(path, "wb", compresslevel=9, mtime=0) as file:
        file.write(json.dumps(whole, separators=(",", ":")).encode())


def read_golden(path: Path) -> tuple[dict[str, str], Start, list[Recorded]]:
    """Profile, start and sequences of a golden file. UserError when it is none."""
    try:
        with gzip.open(path) as file:
            whole = json.load(file)
        start = whole["start"]
        labels = {name: (label, identity) for name, (label, identity) in start["labels"].items()}
        resident = tuple((address, pages) for address, pages in start["resident"])
        return (
            whole["profile"],
            Start(
                Facts(*start["facts"]), start["maps"].encode(), resident, labels, start.get("protection_keys", False)
            ),
            [_decode(sequence) for sequence in whole["sequences"]],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: no golden file: {error}") from None


def _names(start: Start) -> list[tuple[bytes, bytes]]:
    stage = next(line.split(None, 5)[5] for line in start.maps.splitlines() if line.count(b"/") > 0)
    return [(stage, _STAGE), (start.labels["file"][0].encode(), _FILE)]


def _rename(text: bytes, names: list[tuple[bytes, bytes]]) -> str:
    for old, new in names:
        text = text.replace(old, new)
    return text.decode()


def _encode(recorded: Recorded, names: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    last: dict[int, bytes] = {}
    outcomes = []
    for operation, outcome in zip(recorded.operations, recorded.outcomes, strict=True):
        same = last.get(operation.process) == outcome.maps
        last[operation.process] = outcome.maps
        maps = None if same else _rename(outcome.maps, names)
        outcomes.append([*outcome[:-2], outcome.data.hex(), maps])
    return {
        "seed": recorded.seed,
        "observe_every": recorded.observe_every,
        "operations": [str(operation) for operation in recorded.operations],
        "outcomes": outcomes,
        "seen": {str(step): _encode_observation(seen) for step, seen in recorded.seen.items()},
    }


def _encode_observation(seen: Observation) -> dict[str, Any]:
    return {
        str(process): [
            [[vma.head.decode(), vma.sizes, sorted(vma.flags), vma.pages] for vma in one.vmas],
            one.status,
        ]
        for process, one in seen.items()
    }


def _decode(sequence: dict[str, Any]) -> Recorded:
    operations = parse_script("\n".join(sequence["operations"]))
    last: dict[int, bytes] = {}
    outcomes = []
    for operation, (*numbers, data, maps) in zip(operations, sequence["outcomes"], strict=True):
        if maps is not None:
            last[operation.process] = maps.encode()
        outcomes.append(Outcome._make((*numbers, bytes.fromhex(data), last[operation.process])))
    seen = {int(step): _decode_observation(one) for step, one in sequence["seen"].items()}
    return Recorded(sequence["seed"], sequence["observe_every"], operations, outcomes, seen)


def _decode_observation(seen: dict[str, Any]) -> Observation:
    return {int(process): SeenProcess(_decode_vmas(vmas), _tuples(status)) for process, (vmas, status) in seen.items()}


def _decode_vmas(vmas: list[Any]) -> tuple[Seen, ...]:
    return tuple(
        Seen(head.encode(), _tuples(sizes), frozenset(flags), _tuples(pages)) for head, sizes, flags, pages in vmas
    )


def _tuples(rows: list[list[Any]]) -> tuple[Any, ...]:
    return tuple(tuple(row) for row in rows)
