# SPDX-License-Identifier: LGPL-2.1-or-later
"""One column played on a real C library and on a twin, compared: what every call gave, and at stops all of the memory.

The library plays first, to the next STOP or to its end; then the twin plays the same operations. Compared are

    always     every result and errno, the calls that the library made of itself, mallinfo's fields, the texts of
               malloc_stats and malloc_info byte for byte, how the process ended and with what message
    at a stop  the list of mappings; main_arena and mp_; which pages of all that was mapped since the start are in RAM,
               and every byte of them: heap, thread arenas with their heap_info, tcaches, mapped chunks


"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from memtwin.host.libcs import Libc
from memtwin.host.player import MapsLine, Player, describe_ending
from memtwin.verify.libc.script import format_operation

PAGE = 4096


class Twin(Protocol):
    """What plays beside the real library."""

    entries: npt.NDArray[Any]  # dtype ENTRY, as long as the column

    def play(self, until: int) -> None:
        """Perform the operations up to number `until`; fewer when the process ends."""

    def ending(self) -> str | None:
        """How the process ended, in the words of `describe_ending`; None while it lives."""

    def values(self) -> npt.NDArray[Any]:
        """All of mallinfo's fields so far."""

    def text(self) -> str:
        """All text of malloc_stats and malloc_info so far."""

    def areas(self) -> list[tuple[int, int, str]]:
        """Start, end and permissions of every mapping."""

    def resident(self, start: int, end: int) -> npt.NDArray[np.bool_]:
        """Which pages of the range have a page of RAM of their own (the zero page is none)."""

    def memory(self, start: int, end: int) -> npt.NDArray[np.uint8]:
        """The bytes of a range whose pages are resident."""

    def hidden(self) -> npt.NDArray[Any]:
        """The calls that the library made of itself so far, dtype HIDDEN."""

    def close(self) -> None:
        """Let go of what it holds."""


class TwinMaker(Protocol):
    """Makes a twin of a player that stands before its first operation."""

    def __call__(self, player: Player, environment: Mapping[str, str]) -> Twin: ...


@dataclass(frozen=True)
class Difference:
    """The first thing in which twin and host differ.

    at: number of the operation; kind: what differs ("result", "errno", "bytes", …); host, twin: the values in words.
    """

    at: int
    operation: str
    kind: str
    host: str
    twin: str

    def __str__(self) -> str:
        return f"operation {self.at} ({self.operation}): {self.kind}: host {self.host}, twin {self.twin}"


@dataclass
class Comparison:
    """Both sides of one column, stepped from stop to stop."""

    player: Player
    twin: Twin
    column: npt.NDArray[Any] = field(init=False)
    done: int = 0

    def __post_init__(self) -> None:
        self.column = self.player.operations

    def run(self) -> Difference | None:
        """Play the column to its end; the first difference."""
        while True:
            pid = self.player.run()
            until = self.player.position + (1 if pid is not None or self.player.ending.signal else 0)  # type: ignore[union-attr]
            self.twin.play(until)
            found = next(self._differences(until, pid), None)
            if found or pid is None:
                return found
            self.done = until

    def _differences(self, until: int, pid: int | None) -> Iterator[Difference]:
        yield from self._entries(until)
        yield from self._hidden()
        yield from self._ending(until - 1)
        yield from self._values(until - 1)
        yield from self._text(until - 1)
        if pid is not None:
            yield from self._areas(until - 1, pid)
            yield from self._variables(until - 1, pid)
            yield from self._pages(until - 1, pid)

    def _difference(self, at: int, kind: str, host: object, twin: object) -> Difference:
        line = format_operation(self.column[at]) if 0 <= at < len(self.column) else "end"
        return Difference(at, line, kind, str(host), str(twin))

    def _entries(self, until: int) -> Iterator[Difference]:
        dead = 1 if self.player.ending and self.player.ending.signal else 0  # the last call did not return
        host, twin = (side.entries[self.done : until - dead] for side in (self.player, self.twin))
        unlike = (host["result"] != twin["result"]) | (host["error"] != twin["error"])
        if unlike.any():
            i = int(unlike.argmax())
            kind = "result" if host["result"][i] != twin["result"][i] else "errno"
            values = [f"{int(side['result'][i]):#x} errno {side['error'][i]}" for side in (host, twin)]
            yield self._difference(self.done + i, kind, *values)

    def _hidden(self) -> Iterator[Difference]:
        host, twin = self.player.hidden, self.twin.hidden()
        length = min(len(host), len(twin))
        unlike = host["result"][:length] != twin["result"][:length]
        if unlike.any() or len(host) != len(twin):
            i = int(unlike.argmax()) if unlike.any() else length
            at = int((host if i < len(host) else twin)["at"][i])
            yield self._difference(at, "hidden call", *(str(side[i : i + 1]) for side in (host, twin)))

    def _ending(self, at: int) -> Iterator[Difference]:
        host = describe_ending(self.player.ending) if self.player.ending else None
        twin = self.twin.ending()
        if host != twin:
            yield self._difference(at, "ending", host, twin)

    def _values(self, at: int) -> Iterator[Difference]:
        host, twin = self.player.values, self.twin.values()
        if not np.array_equal(host, twin):
            length = min(len(host), len(twin))
            unlike = np.flatnonzero(host[:length] != twin[:length])
            row = int(unlike[0]) // 10 if len(unlike) else length // 10
            calls = np.flatnonzero(np.isin(self.column["op"], (65, 66)))
            place = int(calls[row]) if row < len(calls) else at
            yield self._difference(
                place, "mallinfo", *(side[10 * row : 10 * row + 10].tolist() for side in (host, twin))
            )

    def _text(self, at: int) -> Iterator[Difference]:
        host, twin = self.player.text, self.twin.text()
        if self.player.ending and self.player.ending.signal and self.player.ending.message:
            host, _, _ = host.rstrip("\n").rpartition(self.player.ending.message)
        if host != twin:
            lines = (host.splitlines(), twin.splitlines())
            i = next(
                (i for i, pair in enumerate(zip(*lines, strict=False)) if pair[0] != pair[1]), min(map(len, lines))
            )
            yield self._difference(at, f"text, line {i + 1}", *((side[i : i + 1] or ["end"])[0] for side in lines))

    # ---- memory ----

    def _areas(self, at: int, pid: int) -> Iterator[Difference]:
        host = [(m.start, m.end, m.permissions) for m in self.player.maps(pid) if m.path != "[vsyscall]"]
        twin = self.twin.areas()
        for one, other in zip(host, twin, strict=False):
            if one != other:
                yield self._difference(at, "mapping", _show(one), _show(other))
        if len(host) != len(twin):
            longer = max(host, twin, key=len)[min(len(host), len(twin))]
            yield self._difference(
                at,
                "mapping",
                *(_show(longer) if side[-1:] != [] and longer in side else "none" for side in (host, twin)),
            )

    def _variables(self, at: int, pid: int) -> Iterator[Difference]:
        sizes = self.player.state_size(), self.player.mp_size()
        for name, start, size in zip(
            ("main_arena", "mp_"), (self.player.main_arena(), self.player.mp()), sizes, strict=True
        ):
            host = self.player.memory(start, start + size, pid)
            yield from self._bytes(at, start, host, self.twin.memory(start, start + size), name)

    def _pages(self, at: int, pid: int) -> Iterator[Difference]:
        for start, end in new_ranges(self.player.maps(pid), self.player.start_maps):
            present = self.player.resident(start, end, pid)
            twin = self.twin.resident(start, end)
            if not np.array_equal(present, twin):
                page = int((present != twin).argmax())
                words = ("in RAM", "not in RAM")
                yield self._difference(
                    at, f"page {start + page * PAGE:#x}", *(words[not side[page]] for side in (present, twin))
                )
            for first, last in runs(present):
                low, high = start + first * PAGE, start + last * PAGE
                yield from self._bytes(
                    at, low, self.player.memory(low, high, pid), self.twin.memory(low, high), "memory"
                )

    def _bytes(
        self, at: int, start: int, host: npt.NDArray[Any], twin: npt.NDArray[Any], where: str
    ) -> Iterator[Difference]:
        if np.array_equal(host, twin):
            return
        word = self.player.libc.word
        first = int((host != twin).argmax()) // word * word
        place = f"{start + first:#x} ({where} + {first:#x})" if where != "memory" else f"{start + first:#x}"
        values = (f"{int.from_bytes(side[first : first + word].tobytes(), 'little'):#x}" for side in (host, twin))
        yield self._difference(at, f"word at {place}", *values)


def _show(area: tuple[int, int, str]) -> str:
    return f"{area[0]:x}-{area[1]:x} {area[2]}"


def new_ranges(now: list[MapsLine], start: list[MapsLine]) -> list[tuple[int, int]]:
    """Private anonymous readable memory of `now` that was not there at the start."""
    found = []
    for line in now:
        if line.inode or line.permissions[0] != "r" or line.permissions[3] != "p" or line.path not in ("", "[heap]"):
            continue
        pieces = [(line.start, line.end)]
        for old in start:
            pieces = [
                p
                for low, high in pieces
                for p in ((low, min(high, old.start)), (max(low, old.end), high))
                if p[0] < p[1]
            ]
        found += pieces
    return sorted(found)


def runs(flags: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last + 1 of each run of true ones."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(np.int8), [0]))))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def compare(
    libc: Libc, column: npt.NDArray[Any], slots: int, environment: Mapping[str, str], make_twin: TwinMaker
) -> Difference | None:
    """Play a column on both sides; the first difference, None when there is none."""
    with Player(libc, column, slots, environment) as player:
        twin = make_twin(player, environment)
        try:
            return Comparison(player, twin).run()
        finally:
            twin.close()


class Repeat:
    """A second process of the real library as the twin: it must never differ, unless its settings do."""

    def __init__(self, player: Player, environment: Mapping[str, str]) -> None:
        self._player = Player(player.libc, player.operations, player.slots, environment)
        self._pid: int | None = self._player.pid
        self.entries = self._player.entries

    def play(self, until: int) -> None:
        """Both stop at the same STOPs."""
        self._pid = self._player.run()

    def ending(self) -> str | None:
        """See Twin."""
        return describe_ending(self._player.ending) if self._player.ending else None

    def values(self) -> npt.NDArray[Any]:
        """See Twin."""
        return self._player.values

    def text(self) -> str:
        """See Twin."""
        text, ending = self._player.text, self._player.ending
        return text.rstrip("\n").rpartition(ending.message)[0] if ending and ending.signal and ending.message else text

    def areas(self) -> list[tuple[int, int, str]]:
        """See Twin."""
        return [(m.start, m.end, m.permissions) for m in self._player.maps(self._pid) if m.path != "[vsyscall]"]

    def resident(self, start: int, end: int) -> npt.NDArray[np.bool_]:
        """See Twin."""
        return self._player.resident(start, end, self._pid)

    def memory(self, start: int, end: int) -> npt.NDArray[np.uint8]:
        """See Twin."""
        return self._player.memory(start, end, self._pid)

    def hidden(self) -> npt.NDArray[Any]:
        """See Twin."""
        return self._player.hidden

    def close(self) -> None:
        """End the process."""
        self._player.close()
