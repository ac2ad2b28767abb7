# SPDX-License-Identifier: LGPL-2.1-or-later
"""A bare process on the host that performs memory operations on command: the driver of stage.c.

    with Stage() as stage:
        mapped = stage.call("mmap", 0, 8192, 3, 0x22, -1, 0)
        stage.touch_write(mapped.result, 2).minflt      # 2

The process runs without address randomisation and without a C library, so that equal commands give equal addresses
and fault counts carry no noise. Commands go in batches: `play` takes a list and returns an answer for each.
Process 0 is the root; SPLIT makes others, each addressed by its number.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import resource
import select
import struct
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from memtwin.errors import MemtwinError, UserError
from memtwin.host.personality import without_randomisation

NOTHING, CALL, TOUCH_READ, TOUCH_WRITE, TOUCH_DIRTY, SPLIT, REAP, FRESH, MAP_LOOP, FORK_LOOP = range(10)
WANT_MAPS, WANT_TIME = 1, 2
PROCESSES = 8  # root and descendants

# x86-64 system call numbers, from the kernel's arch/x86/entry/syscalls/syscall_64.tbl
SYSTEM_CALLS: Mapping[str, int] = {
    "read": 0, "write": 1, "open": 2, "close": 3, "mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12, "mremap": 25,
    "msync": 26, "mincore": 27, "madvise": 28, "getpid": 39, "fsync": 74, "ftruncate": 77, "mlock": 149,
    "munlock": 150, "mlockall": 151, "munlockall": 152, "prctl": 157, "remap_file_pages": 216, "fadvise64": 221,
    "process_madvise": 440, "memfd_create": 319, "mlock2": 325, "prlimit64": 302, "mseal": 462,
}  # fmt: skip

ADDR_COMPAT_LAYOUT = 0x0200000
_F_SETPIPE_SZ = 1031
_PIPE_BYTES = 1 << 20
_TIMEOUT_SECONDS = 20.0
_BATCH = 2048  # commands in flight: fewer bytes than a pipe holds

# struct command, struct answer: see stage.c
_COMMAND = struct.Struct("<6I6q")
_ANSWER = struct.Struct("<q2I2i3Q2I")
_U32 = struct.Struct("<I")
_SIGNED, _WRAP = 1 << 63, 1 << 64


class Answer(NamedTuple):
    """What one command came to.

    result: as the kernel gives it, -errno included; a touch counts the bytes it reached. minflt, majflt: faults of the
    process since its last answer. signal, code, address: what stopped a touch; 0 when nothing did. value: of
    TOUCH_READ, the bytes chained as value * 31 + byte. nanoseconds: with WANT_TIME. room: bytes of the stage's
    scratch. maps: /proc/PID/maps after the command, empty unless wanted.
    """

    result: int
    minflt: int
    majflt: int
    signal: int
    code: int
    address: int
    value: int
    nanoseconds: int
    room: bytes
    maps: bytes


class StageDied(MemtwinError):
    """The process on the host ended, or no longer answers; the message tells its exit status."""


class Facts(NamedTuple):
    """Where the stage's own things lie, in its address space."""

    scratch: int  # a buffer for what pointers in system calls point to
    scratch_length: int
    image_start: int  # the program itself: what no experiment may change
    data_start: int  # the part of it that is written to
    image_end: int


def command(kind: int, *arguments: int, process: int = 0, number: int = 0, want: int = 0, room: int = 0) -> bytes:
    """One command for `Stage.play`; arguments are taken modulo 2^64, as registers do."""
    a = [x % _WRAP - _WRAP if x % _WRAP >= _SIGNED else x % _WRAP for x in arguments] + [0] * (6 - len(arguments))
    return _COMMAND.pack(process, kind, number, want, room, 0, *a)


def call_command(name: str, *arguments: int, process: int = 0, want: int = 0, room: int = 0) -> bytes:
    """The command that makes the system call `name`."""
    return command(CALL, *arguments, process=process, number=SYSTEM_CALLS[name], want=want, room=room)


def stage_program() -> Path:
    """The compiled stage: beside this file when installed, else in the checkout's build directory."""
    if platform.machine() != "x86_64":
        raise UserError(f"the stage runs on x86_64 Linux only, this is {platform.machine()}")
    here = Path(__file__).resolve().parent
    for place in (here / "stage", here.parents[2] / "build" / "stage"):
        if place.is_file():
            return place
    raise UserError("the stage program is not built: run `make install`")


class Stage:
    """A stage process and its descendants.

    files: descriptors that it shall have, under the same numbers. limits: resource.RLIMIT_* to (soft, hard), set
    before its address space is laid out. personality: added to ADDR_NO_RANDOMIZE.
    """

    def __init__(
        self,
        files: Sequence[int] = (),
        limits: Mapping[int, tuple[int, int]] | None = None,
        personality: int = 0,
        program: Path | None = None,
    ) -> None:
        self._rest = b""
        self.pids: dict[int, int] = {}
        self._parents: dict[int, int] = {}
        order_read, self._order = os.pipe()
        self._answers, answer_write = os.pipe()
        for pipe in (self._order, self._answers):
            with contextlib.suppress(OSError):  # over fs.pipe-max-size: slower, not wrong
                fcntl.fcntl(pipe, _F_SETPIPE_SZ, _PIPE_BYTES)
        chosen = program or stage_program()
        with without_randomisation(personality):
            self._process = subprocess.Popen(
                [str(chosen)], stdin=order_read, stdout=answer_write, pass_fds=tuple(files), env={}, cwd="/"
            )
        os.close(order_read)
        os.close(answer_write)
        self._greeted()
        # On one processor, with all descendants: that a page is writable again after a fork is not told to others, and
        # a process that is moved there faults once more (mm/pgtable-generic.c, flush_tlb_fix_spurious_fault).
        with contextlib.suppress(OSError):
            os.sched_setaffinity(self._process.pid, {max(os.sched_getaffinity(self._process.pid))})
        for limit, value in (limits or {}).items():
            resource.prlimit(self._process.pid, limit, value)
        self.fresh()

    @property
    def pid(self) -> int:
        """Process id of the root."""
        return self._process.pid

    def fresh(self) -> Answer:
        """A new address space by execve; descendants must be gone. The answer holds the maps at start."""
        os.write(self._order, command(FRESH))
        return self._greeted()

    def _greeted(self) -> Answer:
        (hello,) = self._take(1)
        self.facts = Facts._make(struct.unpack("<5Q", hello.room))
        self.pids, self._parents = {0: self._process.pid}, {}
        return hello

    def play(self, commands: Sequence[bytes]) -> list[Answer]:
        """Perform the commands in order; an answer for each. StageDied when the process ends or hangs."""
        answers: list[Answer] = []
        for begin in range(0, len(commands), _BATCH):
            batch = commands[begin : begin + _BATCH]
            os.write(self._order, b"".join(batch))
            answers += self._take(len(batch))
        return answers

    def _read_more(self) -> None:
        if not select.select([self._answers], [], [], _TIMEOUT_SECONDS)[0]:
            raise StageDied(f"the stage, process {self.pid}, has not answered for {_TIMEOUT_SECONDS:.0f} s")
        data = os.read(self._answers, _PIPE_BYTES)
        if not data:
            raise StageDied(f"the stage ended with status {self._process.wait()}")
        self._rest += data

    def _take(self, count: int) -> list[Answer]:
        """Parse `count` answers from the pipe."""
        answers: list[Answer] = []
        at = 0
        while len(answers) < count:
            parsed = _parse(self._rest, at)
            if parsed is None:
                self._rest = self._rest[at:]
                at = 0
                self._read_more()
                continue
            one, at = parsed
            answers.append(one)
        self._rest = self._rest[at:]
        return answers

    # One at a time, for tests and people.

    def call(self, name: str, *arguments: int, process: int = 0, room: int = 0) -> Answer:
        """Make one system call in a process of the stage."""
        return self.play([call_command(name, *arguments, process=process, room=room)])[0]

    def touch_read(self, address: int, pages: int = 1, stride: int = 4096, process: int = 0) -> Answer:
        """Load one byte at `address`, address + stride, …, `pages` times."""
        return self.play([command(TOUCH_READ, address, pages, stride, process=process)])[0]

    def touch_write(self, address: int, pages: int = 1, stride: int = 4096, byte: int = 1, process: int = 0) -> Answer:
        """Store `byte` at `address`, address + stride, …, `pages` times."""
        return self.play([command(TOUCH_WRITE, address, pages, stride, byte, process=process)])[0]

    def split(self, child: int, process: int = 0) -> Answer:
        """Fork `process`; the child becomes number `child`."""
        made = self.play([command(SPLIT, child, process=process)])[0]
        if made.result > 0:
            self.born(child, process, made.result)
        return made

    def reap(self, child: int) -> Answer:
        """End process `child` and wait for it in its parent, or in the root when the parent is gone."""
        made = self.play([command(REAP, child, process=self._parents.get(child, 0))])[0]
        self.gone(child)
        return made

    def reap_all(self) -> None:
        """End all descendants."""
        for child in sorted(self._parents):
            self.reap(child)

    def born(self, child: int, parent: int, pid: int) -> None:
        """Take note of a SPLIT that was played."""
        self.pids[child] = pid
        self._parents[child] = parent

    def gone(self, child: int) -> None:
        """Take note of a REAP that was played; what it forked is now the root's."""
        del self.pids[child], self._parents[child]
        self._parents = {one: 0 if parent == child else parent for one, parent in self._parents.items()}

    def maps(self, process: int = 0) -> bytes:
        """/proc/PID/maps."""
        return self.play([command(NOTHING, process=process, want=WANT_MAPS)])[0].maps

    def close(self) -> None:
        """End the process and its descendants."""
        for pipe in (self._order, self._answers):
            with contextlib.suppress(OSError):
                os.close(pipe)
        for pid in self.pids.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _parse(data: bytes, at: int) -> tuple[Answer, int] | None:
    """The answer that begins at `at` and where it ends; None when its end has not arrived yet."""
    end = at + _ANSWER.size
    if end > len(data):
        return None
    *fields, room_length, has_maps = _ANSWER.unpack_from(data, at)
    room = data[end : end + room_length]
    end += room_length
    chunks: list[bytes] = []
    while has_maps:
        if end + 4 > len(data):
            return None
        (length,) = _U32.unpack_from(data, end)
        end += 4
        if length == 0:
            break
        chunks.append(data[end : end + length])
        end += length
    return (Answer._make((*fields, room, b"".join(chunks))), end) if end <= len(data) else None
