# SPDX-License-Identifier: LGPL-2.1-or-later
"""Drives host/player.c: a column of operations performed by a real C library in a process of its own.

    with Player(find_libc("2.36"), operations, slots=100) as player:
        while (stop := player.run()) is not None:     # a STOP was reached; player.memory(...) reads the process
            ...
        player.ending                                 # how it ended; player.entries, hidden, values, text: the log

The process runs without address randomisation and with nothing in its environment but the settings asked for, so that
two runs of a column give the same addresses. The layout of the board is drawn in player.c.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from importlib.resources import files
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED, mmap
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from memtwin.errors import MemtwinError, UserError
from memtwin.host.libc_symbols import read_functions, read_symbols
from memtwin.host.libcs import Libc
from memtwin.libc.release import find_release
from memtwin.trace.schema import Op

OPERATION = np.dtype(
    [("op", "u1"), ("byte", "u1"), ("thread", "<u2"), ("slot", "<u4"), ("size", "<u8"), ("argument", "<u8")]
)
ENTRY = np.dtype([("result", "<u8"), ("error", "<u4"), ("written", "<u4")])
HIDDEN = np.dtype(
    [
        ("at", "<u4"),
        ("op", "<u2"),
        ("thread", "<u2"),
        ("size", "<u8"),
        ("argument", "<u8"),
        ("pointer", "<u8"),
        ("result", "<u8"),
    ]
)

HEADER = 4096
FUNCTIONS_AT = 64  # offset of header.function
POSITION_AT, HIDDEN_AT, VALUES_AT = 40, 48, 56
ADDR_NO_RANDOMIZE = 0x0040000
THREADS = 256
_GAVE_UP = 3  # exit status of a player that cannot go on


class Play(IntEnum):
    """Operations beyond trace.schema.Op that the player knows; the fields of each are told in player.c's perform."""

    USABLE_SIZE = 64
    MALLINFO = 65
    MALLINFO2 = 66
    MALLOC_STATS = 67
    MALLOC_INFO = 68
    WRITE = 69
    POKE = 70
    POKE_POINTER = 71
    POKE_LINK = 72
    PEEK = 73
    SET = 74
    LIMIT = 75
    STOP = 76
    MCHECK = 77
    MPROBE = 78
    CHECK_ALL = 79


# Functions of the library beyond malloc's, in the order of player.c's F_ places.
FURTHER = (
    "__errno_location",
    "malloc_usable_size",
    "mallinfo",
    "mallinfo2",
    "malloc_stats",
    "malloc_info",
    "_IO_2_1_stderr_",
    "mmap",
    "munmap",
    "madvise",
    "mprotect",
    "brk",
    "sbrk",
    "fork",
    "prlimit64",
    "pthread_attr_init",
    "pthread_attr_setstack",
    "pthread_create",
    "pthread_join",
    "mcheck",
    "mcheck_pedantic",
    "mprobe",
    "mcheck_check_all",
)
# Place in header.function -> the library's symbol.
ENTRY_POINTS: dict[int, str] = {op: op.name.lower() for op in Op if op <= Op.MALLOPT}
ENTRY_POINTS.update((32 + i, name) for i, name in enumerate(FURTHER))
# mallinfo2 since 2.33; since 2.34 mcheck is in the debug library
OPTIONAL = {"mallinfo2", "mcheck", "mcheck_pedantic", "mprobe", "mcheck_check_all"}


@dataclass(frozen=True)
class MapsLine:
    """One line of /proc/PID/maps."""

    start: int
    end: int
    permissions: str
    offset: int
    device: str
    inode: int
    path: str


@dataclass(frozen=True)
class Ending:
    """How the player ended: its exit status or the signal that killed it, and its last words if it aborted."""

    status: int
    signal: int
    message: str


class PlayerError(MemtwinError):
    """The player itself failed: a bug in memtwin or a library that it cannot run on."""


def parse_maps(text: str) -> list[MapsLine]:
    """The lines of a /proc/PID/maps."""
    found = []
    for line in text.splitlines():
        fields = line.split(None, 5)
        start, end = (int(part, 16) for part in fields[0].split("-"))
        path = fields[5] if len(fields) == 6 else ""
        found.append(MapsLine(start, end, fields[1], int(fields[2], 16), fields[3], int(fields[4]), path))
    return found


class Player:
    """A process that plays `operations` (dtype OPERATION) on `libc`; stopped before the first one when made.

    A MALLINFO2 becomes a MALLINFO where the library has none (before 2.33); `operations` is what is played.

    slots: how many pointers the column names. environment: MALLOC_* and GLIBC_TUNABLES for the library.
    hidden_room: how many calls that the library makes of itself are kept.
    """

    def __init__(
        self,
        libc: Libc,
        operations: npt.NDArray[Any],
        slots: int,
        environment: Mapping[str, str] | None = None,
        hidden_room: int = 65536,
        preload: tuple[str, ...] = (),
    ) -> None:
        self.libc = libc
        self.slots = slots
        self.environment = dict(environment or {})
        self.ending: Ending | None = None
        self.start_maps: list[MapsLine] = []
        self._files: list[int] = []
        informed = np.isin(operations["op"], (Play.MALLINFO, Play.MALLINFO2))
        self._make_board(operations, slots, hidden_room, 10 * int(informed.sum()) + 10)
        self._start(environment or {}, preload)

    def __enter__(self) -> Player:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process, if it still runs, and let go of its files. The log stays readable."""
        if self._process.returncode is None:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()
        self._error_file.close()

    # ---- the board ----

    def _make_board(self, operations: npt.NDArray[Any], slots: int, hidden_room: int, values_room: int) -> None:
        areas = [
            ("operations", OPERATION, len(operations)),
            ("entries", ENTRY, len(operations)),
            ("_hidden", HIDDEN, hidden_room),
            ("_values", np.dtype("<u8"), values_room),
        ]
        length = HEADER + sum(kind.itemsize * count for _, kind, count in areas)
        length = -(-length // 4096) * 4096
        self._board_file = os.memfd_create("player's board")
        os.ftruncate(self._board_file, length)
        self._board = mmap(self._board_file, length, MAP_SHARED)
        at = HEADER
        for name, kind, count in areas:
            setattr(self, name, np.frombuffer(self._board, kind, count, at))
            at += kind.itemsize * count
        self.operations: npt.NDArray[Any]
        self.operations[:] = operations
        self._header = np.frombuffer(self._board, "<u8", HEADER // 8)
        self._header[:4] = len(operations), hidden_room, values_room, slots

    entries: npt.NDArray[Any]
    _hidden: npt.NDArray[Any]
    _values: npt.NDArray[Any]

    @property
    def position(self) -> int:
        """Number of the operation that is being performed (at a stop: the STOP; at the end: how many there are)."""
        return int(self._header[POSITION_AT // 8])

    @property
    def hidden(self) -> npt.NDArray[Any]:
        """The calls that the library has made of itself so far, dtype HIDDEN."""
        return self._hidden[: int(self._header[HIDDEN_AT // 8])]

    @property
    def values(self) -> npt.NDArray[Any]:
        """mallinfo's and mallinfo2's fields so far, ten a call; an entry's result is the place of its first."""
        return self._values[: int(self._header[VALUES_AT // 8])]

    @property
    def text(self) -> str:
        """What the process has written to stderr: malloc_stats, malloc_info, its last words."""
        return os.pread(self._error_file.fileno(), 1 << 24, 0).decode(errors="replace")

    # ---- running ----

    def _start(self, environment: Mapping[str, str], preload: tuple[str, ...]) -> None:
        program = files("memtwin.host") / ("player" if self.libc.word == 8 else "player32")
        self._error_file = tempfile.TemporaryFile(prefix="memtwin-player-")  # noqa: SIM115 (closed in close)
        libraries = " ".join((*preload, str(self.libc.libc), str(self.libc.libpthread)))
        command = [
            str(self.libc.loader),
            "--library-path",
            str(self.libc.directory),
            "--preload",
            libraries,
            str(program),
        ]
        board = self._board_file

        def prepare() -> None:
            ctypes.CDLL(None).personality(ADDR_NO_RANDOMIZE)
            os.dup2(board, 3)

        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._error_file,
            bufsize=0,
            env={"LIBC_FATAL_STDERR_": "1", **environment},
            preexec_fn=prepare,
            pass_fds=(3,),
        )
        os.close(self._board_file)
        if self._wait() is None:
            raise PlayerError(f"the player does not start on {self.libc.libc}: {self.ending}")
        self._hand_over()

    def _wait(self) -> int | None:
        """Pid of the process that stopped, None when the player has ended."""
        assert self._process.stdout
        told = self._process.stdout.read(8)
        if len(told) == 8:
            return int.from_bytes(told, "little")
        code = self._process.wait()
        spoke = code > 0 or code == -signal.SIGABRT  # else the last line is of malloc_stats or malloc_info
        last = (self.text.strip().splitlines() or [""])[-1] if spoke else ""
        self.ending = Ending(max(code, 0), max(-code, 0), last)
        if self.ending.status == _GAVE_UP:
            raise PlayerError(last)
        return None

    def _hand_over(self) -> None:
        """Tell the process, which stands before its first operation, where the library's functions are."""
        self.start_maps = self.maps()
        functions = {**self._functions(self.libc.libpthread), **self._functions(self.libc.libc)}
        for place, name in ENTRY_POINTS.items():
            if name in functions:
                self._header[FUNCTIONS_AT // 8 + place] = functions[name]
            elif name not in OPTIONAL:
                raise PlayerError(f"{self.libc.libc} has no {name}")
        if "mallinfo2" not in functions:
            self.operations["op"][self.operations["op"] == Play.MALLINFO2] = Play.MALLINFO
        self._header[4] = int(self._read_proc("statm").split()[0]) * 4096

    def _functions(self, library: Path) -> dict[str, int]:
        real = os.path.realpath(library)
        base = next((m.start for m in self.start_maps if os.path.realpath(m.path) == real), None)
        return {} if base is None else {name: base + at for name, at in read_functions(library).items()}

    def run(self) -> int | None:
        """Go on to the next STOP; the pid of the process that stopped (a forked child has its own), None at the end."""
        if self.ending:
            return None
        assert self._process.stdin
        self._process.stdin.write(b"g")
        return self._wait()

    # ---- looking at the stopped process ----

    @property
    def pid(self) -> int:
        """The player's process."""
        return self._process.pid

    def _read_proc(self, name: str, pid: int | None = None) -> str:
        with open(f"/proc/{pid or self.pid}/{name}") as file:
            return file.read()

    def maps(self, pid: int | None = None) -> list[MapsLine]:
        """/proc/PID/maps as it is now."""
        return parse_maps(self._read_proc("maps", pid))

    def start_brk(self) -> int:
        """Where the heap began: /proc/PID/stat's start_brk."""
        return self._stat(47)

    def data_bytes(self) -> int:
        """Bytes of the program's own data, which RLIMIT_DATA counts too: /proc/PID/stat's end_data - start_data."""
        return self._stat(46) - self._stat(45)

    def _stat(self, field: int) -> int:
        """A field of /proc/PID/stat, by its number in proc(5)."""
        return int(self._read_proc("stat").rpartition(")")[2].split()[field - 3])

    def memory(self, start: int, end: int, pid: int | None = None) -> npt.NDArray[np.uint8]:
        """The process's bytes from `start` to `end`; PlayerError where it has none."""
        with open(f"/proc/{pid or self.pid}/mem", "rb", buffering=0) as file:
            room = np.empty(end - start, np.uint8)
            done = 0
            while done < len(room):
                got = os.preadv(file.fileno(), [room[done:].data], start + done)
                if got <= 0:
                    raise PlayerError(f"no memory at {start + done:#x}")
                done += got
        return room

    def resident(self, start: int, end: int, pid: int | None = None) -> npt.NDArray[np.bool_]:
        """Which pages of the range have RAM of their own: present in pagemap, and no zero page, huge or not."""
        with open(f"/proc/{pid or self.pid}/pagemap", "rb", buffering=0) as file:
            raw = os.pread(file.fileno(), (end - start) // 4096 * 8, start // 4096 * 8)
        entries = np.frombuffer(raw, np.uint64)
        frames = entries & _FRAME
        present: npt.NDArray[np.bool_] = (entries >> np.uint64(63) == 1) & (frames != zero_page())
        for i in np.flatnonzero(present & (frames % _HUGE == 0) & (frames > 0)):
            if _is_zero(int(frames[i])):
                present[i : i + _HUGE] = False
        return present

    def main_arena(self) -> int:
        """Address of main_arena in the process."""
        return self._library_base() + read_symbols(self.libc.libc).main_arena

    def mp(self) -> int:
        """Address of mp_ in the process."""
        return self._library_base() + read_symbols(self.libc.libc).mp

    def state_size(self) -> int:
        """Bytes of main_arena."""
        return find_release(self.libc.release, self.libc.data_model).state_size

    def mp_size(self) -> int:
        """Bytes of mp_."""
        return find_release(self.libc.release, self.libc.data_model).mp_size

    def tcache_key(self) -> int:
        """The random word that marks cached chunks; 0 before 2.34, and when the process has ended."""
        offset = key_offset(self.libc)
        if not offset or self._process.poll() is not None:
            return 0
        start = self._library_base() + offset
        return int.from_bytes(self.memory(start, start + self.libc.word).tobytes(), "little")

    def _library_base(self) -> int:
        real = os.path.realpath(self.libc.libc)
        return next(m.start for m in self.start_maps if os.path.realpath(m.path) == real)


_FRAME = np.uint64((1 << 55) - 1)
_HUGE = 512  # pages
_KPF_ZERO_PAGE = 24  # bit of /proc/kpageflags, of the huge zero page too


@lru_cache
def zero_page() -> int:
    """Frame number of the kernel's zero page, seen at a page of ours that was only read.

    Without the privilege to see frame numbers all of them read as 0, and no page counts as the zero page.
    """
    room = mmap(-1, 4096, MAP_PRIVATE | MAP_ANONYMOUS)
    room[0]  # maps the page
    address = ctypes.addressof(ctypes.c_char.from_buffer(room))
    with open("/proc/self/pagemap", "rb", buffering=0) as file:
        entry = int.from_bytes(os.pread(file.fileno(), 8, address // 4096 * 8), "little")
    return entry & int(_FRAME) or 1 << 55


def _is_zero(frame: int) -> bool:
    """Whether the kernel keeps that frame as a zero page. The huge one comes and goes, so it is asked for each time."""
    with open("/proc/kpageflags", "rb", buffering=0) as file:
        flags = int.from_bytes(os.pread(file.fileno(), 8, 8 * frame), "little")
    return bool(flags >> _KPF_ZERO_PAGE & 1)


@lru_cache
def key_offset(libc: Libc) -> int:
    """Where a library has tcache_key, relative to its load address; 0 for one whose key is not a random word.

    It has no symbol: a block is freed into the cache, which writes the key there, and the library's data are searched.
    """
    if not find_release(libc.release).has("random_tcache_key"):
        return 0
    column = np.zeros(5, OPERATION)
    column["op"] = Op.MALLOC, Op.MALLOC, Op.FREE, Op.FREE, Play.STOP
    column["slot"] = 0, 1, 0, 1, 0
    column["byte"][2:4] = 1  # the pointers stay in their slots
    column["size"][:2] = 40
    with Player(libc, column, 2) as player:
        player.run()
        place = int(player.entries["result"][1]) + libc.word
        key = player.memory(place, place + libc.word).tobytes()
        base = player._library_base()
        real = os.path.realpath(libc.libc)
        at = next(i for i, m in enumerate(player.start_maps) if os.path.realpath(m.path) == real)
        for line in player.start_maps[at:]:
            if "w" not in line.permissions or (line.path and os.path.realpath(line.path) != real):
                continue
            found = player.memory(line.start, line.end).tobytes().find(key)
            if found >= 0:
                return line.start + found - base
    raise PlayerError(f"{libc.libc}: no tcache_key in its data")


def describe_ending(ending: Ending) -> str:
    """One line for people."""
    if ending.signal:
        return f"killed by {signal.Signals(ending.signal).name}: {ending.message}"
    return f"exit status {ending.status}"


def check_slots(operations: npt.NDArray[Any], slots: int) -> None:
    """UserError when an operation names a slot that there is none of, or a thread."""
    if len(operations) and int(operations["slot"].max()) >= slots:
        raise UserError(f"slot {int(operations['slot'].max())}: there are {slots}")
    if len(operations) and int(operations["thread"].max()) >= THREADS:
        raise UserError(f"thread {int(operations['thread'].max())}: the player has {THREADS}")
