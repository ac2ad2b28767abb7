# SPDX-License-Identifier: LGPL-2.1-or-later
"""The same calls under glibc's debug library, where the release has one, and in the twin; heaps word for word."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tests.libc.sides import Side, host_side, perform, slots_of

from memtwin.errors import MemoryFault
from memtwin.host.libc_symbols import read_symbols
from memtwin.host.libcs import Libc, find_libc
from memtwin.host.player import OPERATION, MapsLine, Play, Player
from memtwin.libc.debug import new_malloc
from memtwin.libc.malloc import Malloc
from memtwin.libc.tunables import minor_of
from memtwin.verify.libc.script import parse_script
from memtwin.verify.libc.twin import processors, space_like


class DebugPlayer(Player):
    """A player whose calls go to the preloaded debug library, where there is one.

    image: the heap and the mappings that came since the start, by their first address, as the last STOP has seen them.
    """

    def __init__(self, libc: Libc, operations: npt.NDArray[Any], slots: int, environment: Mapping[str, str]) -> None:
        self.debug = libc.directory / "libc_malloc_debug.so.0"
        self.preloaded = minor_of(libc.release) >= 34
        self.image: dict[int, bytes] = {}
        self.key = 0
        super().__init__(libc, operations, slots, environment, preload=(str(self.debug),) if self.preloaded else ())

    def _functions(self, library: Path) -> dict[str, int]:
        found = super()._functions(library)
        if library == self.libc.libc and self.preloaded:
            found |= super()._functions(self.debug)
        return found

    def allocator(self, check: int) -> tuple[int, int]:
        """main_arena and mp_ of the allocator that serves the calls: where it checks, the debug library has its own."""
        if not (check and self.preloaded):
            return self.main_arena(), self.mp()
        base = next(line.start for line in self.start_maps if line.path == str(self.debug.resolve()))
        symbols = read_symbols(self.debug)
        return base + symbols.main_arena, base + symbols.mp

    def play(self) -> None:
        """Everything, with a look at each STOP."""
        while self.run() is not None:
            self.key = self.tcache_key()
            self.image = {
                line.start: self.memory(line.start, line.end).tobytes() for line in self.maps() if self._is_new(line)
            }

    def _is_new(self, line: MapsLine) -> bool:
        known = any(line.start < other.end and other.start < line.end for other in self.start_maps)
        return line.permissions == "rw-p" and (
            line.path == "[heap]" or line.path.startswith("[anon:") or not (line.path or known)
        )


def play(name: str, script: npt.NDArray[Any] | str, check: int, mcheck: bool = False) -> tuple[Side, Side]:
    """Both sides under MALLOC_CHECK_=`check`; what is in memory at the end is compared here.

    mcheck: the column may call it.
    """
    column = parse_script(script).operations if isinstance(script, str) else script
    stop = np.zeros(1, OPERATION)
    stop["op"] = Play.STOP
    libc, slots = find_libc(name), slots_of(column)
    with DebugPlayer(libc, np.concatenate([column, stop]), slots, {"MALLOC_CHECK_": str(check)}) as player:
        arena, mp = player.allocator(check)
        space = space_like(player)
        space.write(arena, player.memory(arena, arena + player.state_size()).tobytes())
        malloc = new_malloc(
            space, libc.release, {"check": check}, player.preloaded, mcheck=mcheck,
            data_model=libc.data_model, cpus=processors(libc.release), main_arena=arena, mp=mp,
        )  # fmt: skip
        player.play()
        host = host_side(player)
        if player.key and not check:
            malloc.tcache_key = player.key
        twin = perform(malloc, player.operations[:-1], slots, 50, player.hidden)
        if not (host.signal or twin.signal):
            host.results.pop()  # the STOP
            compare(malloc, player.image)
    return host, twin


def compare(malloc: Malloc, image: Mapping[int, bytes]) -> None:
    """Each word of the real process is the twin's."""
    for start, real in image.items():
        try:
            ours = malloc.space.read(start, len(real))
        except MemoryFault as fault:
            raise AssertionError(f"{start:#x}: {fault}") from None
        if ours != real:
            at = next(i for i in range(0, len(real), 8) if ours[i : i + 8] != real[i : i + 8])
            words = (int.from_bytes(side[at : at + 8], "little") for side in (real, ours))
            raise AssertionError("word at {:#x}: host {:#x}, twin {:#x}".format(start + at, *words))
