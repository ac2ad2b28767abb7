# SPDX-License-Identifier: LGPL-2.1-or-later
"""A real process with the host's C library, called as the twin's Process is: the other side of `memtwin verify`.

    with Process() as process:
        p = process.malloc(100)
        process.write(p, b"hello")
        child = process.fork()
        thread = process.thread()

Each call is performed by `subject` (subject.c) in its own address space, without address randomisation. Pointers are
ints of that address space. `errno`, `minflt` and `majflt` are those of the last call. What kills the real process
raises what the twin raises: SegmentationFault, BusError, Aborted with glibc's own message.
"""

from __future__ import annotations

import array
import contextlib
import os
import platform
import socket
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn, Self, TypeVar

from memtwin.calls import Calls
from memtwin.errors import Aborted, BusError, Exited, MemoryFault, MemtwinError, SegmentationFault, UserError
from memtwin.host.personality import without_randomisation

_CALL, _LOAD, _STORE, _FILL, _COPY, _TOUCH, _FORK, _WARM, _LEAVE, _THREAD, _RETURN, _JOIN = range(12)

# struct command and struct answer of subject.c
_COMMAND = struct.Struct("<2I6Q")
_ANSWER = struct.Struct("<q3iI3Q")

# The order of `calls` in subject.c.
_NUMBERS = {
    name: number
    for number, name in enumerate(
        """
        malloc calloc realloc reallocarray free memalign posix_memalign aligned_alloc valloc pvalloc malloc_usable_size
        malloc_trim mallopt malloc_stats malloc_info brk sbrk mmap munmap mremap mprotect madvise mlock mlock2 munlock
        mincore msync memfd_create ftruncate mallinfo mallinfo2 open_zero
        """.split()
    )
}
_ROOM = 48 * 1024  # bytes of a LOAD or STORE in one packet
_WORD = (1 << 64) - 1
_READ_WRITE, _PRIVATE_ANONYMOUS, _MAYMOVE = 3, 0x22, 1
_TIMEOUT_SECONDS = 20.0

MALLINFO = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()


class SubjectDied(MemtwinError):
    """The process no longer answers and did not say why."""


def subject_program() -> Path:
    """The compiled subject, beside this file. UserError when there is none."""
    program = Path(__file__).resolve().parent / "subject"
    if platform.system() != "Linux" or not program.is_file():
        raise UserError("the subject program is not built: run `make install` on Linux")
    return program


class Process(Calls):
    """A process on the host, and with `fork` its children, with `thread` its threads.

    environment: of the process, such as {"MALLOC_ARENA_MAX": "1"}; nothing else is passed on. prefix: what the
    program is started by, such as another release's loader: ["/path/ld.so", "--library-path", "/path"].
    """

    def __init__(self, environment: Mapping[str, str] | None = None, prefix: tuple[str, ...] = ()) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._messages, messages = os.pipe()
        os.set_blocking(self._messages, False)
        command = [*prefix, str(subject_program()), str(theirs.fileno())]
        with theirs, without_randomisation():
            self._started: subprocess.Popen[bytes] | None = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], stderr=messages, stdin=subprocess.DEVNULL, env=environment or {}
            )
        os.close(messages)
        self._begin(ours, self._started.pid)
        try:
            self._vector = self._warm()
        except BaseException:
            self.close()
            raise

    def _begin(self, line: socket.socket, pid: int) -> None:
        self._line = line
        self._line.settimeout(_TIMEOUT_SECONDS)
        self.pid = pid
        self._children: list[Process] = []  # and threads
        self.errno = self.minflt = self.majflt = 0

    def _warm(self) -> int:
        """Keep what the program and its libraries write to resident; where the result vector lies."""
        self._ask(_TOUCH, 0, (0, 0))  # it answers: the loader is done and the mappings are what they will be
        pairs = b""
        for text in self.maps().splitlines():
            words = text.split()
            start, end = (int(part, 16) for part in words[0].split("-"))
            if words[1].startswith("r") and words[-1][0] != "[":
                pairs += struct.pack("<2Q", start, end - start | words[1].startswith("rw"))
        return self._ask(_WARM, 0, (), pairs)[0]

    # How a call gets there and back.

    def _ask(
        self, kind: int, number: int, words: tuple[int, ...], data: bytes = b"", descriptor: int | None = None
    ) -> tuple[int, bytes]:
        packed = _COMMAND.pack(kind, number, *(word & _WORD for word in words), *[0] * (6 - len(words)))
        rights = [] if descriptor is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
        try:
            self._line.sendmsg([packed + data], rights)
            answer = self._line.recv(1 << 17)
        except OSError as error:
            raise SubjectDied(f"process {self.pid} does not answer: {error}") from None
        if not answer:
            raise SubjectDied(f"process {self.pid} is gone")
        return self._heard(answer)

    def _heard(self, answer: bytes) -> tuple[int, bytes]:
        result, self.errno, signal, code, length, address, self.minflt, self.majflt = _ANSWER.unpack_from(answer)
        if signal:
            write, self.errno = self.errno, 0
            raise self._death(signal, code, address, "write" if write else "read")
        return result, answer[_ANSWER.size : _ANSWER.size + length]

    def _death(self, signal: int, code: int, address: int, access: str) -> Exception:
        if signal == 6:
            return Aborted(self._said().strip())
        kind: type[MemoryFault] = SegmentationFault if signal == 11 else BusError
        return kind(address, access, code, "no mapping there" if code == 1 else "the mapping does not allow it")

    def _said(self) -> str:
        """What the process has written to its standard error since it was last asked."""
        text = b""
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(self._messages, 1 << 16):
                text += piece
        return text.decode("utf-8", "replace")

    def _call(self, name: str, *words: int) -> int:
        return self._ask(_CALL, _NUMBERS[name], words)[0]

    def _pointer(self, name: str, *words: int) -> int:
        return self._call(name, *words) & _WORD

    def _address(self, name: str, *words: int) -> int:
        """Like `_pointer`, with -1 for MAP_FAILED."""
        found = self._call(name, *words)
        return -1 if found == -1 else found & _WORD

    def _int(self, name: str, *words: int) -> int:
        """The C function returns int: the upper half of the register is anything."""
        return (self._call(name, *words) + (1 << 31) & 0xFFFFFFFF) - (1 << 31)

    # The C library's allocator.

    def malloc(self, size: int) -> int:
        """malloc(3)."""
        return self._pointer("malloc", size)

    def calloc(self, count: int, size: int) -> int:
        """calloc(3)."""
        return self._pointer("calloc", count, size)

    def realloc(self, pointer: int, size: int) -> int:
        """realloc(3)."""
        return self._pointer("realloc", pointer, size)

    def reallocarray(self, pointer: int, count: int, size: int) -> int:
        """reallocarray(3)."""
        return self._pointer("reallocarray", pointer, count, size)

    def free(self, pointer: int) -> None:
        """free(3)."""
        self._call("free", pointer)

    def memalign(self, alignment: int, size: int) -> int:
        """memalign(3)."""
        return self._pointer("memalign", alignment, size)

    def posix_memalign(self, memptr: int, alignment: int, size: int) -> int:
        """posix_memalign(3): 0, EINVAL or ENOMEM; the block's address is stored at `memptr`."""
        return self._int("posix_memalign", memptr, alignment, size)

    def aligned_alloc(self, alignment: int, size: int) -> int:
        """aligned_alloc(3)."""
        return self._pointer("aligned_alloc", alignment, size)

    def valloc(self, size: int) -> int:
        """valloc(3)."""
        return self._pointer("valloc", size)

    def pvalloc(self, size: int) -> int:
        """pvalloc(3)."""
        return self._pointer("pvalloc", size)

    def malloc_usable_size(self, pointer: int) -> int:
        """malloc_usable_size(3), bytes."""
        return self._call("malloc_usable_size", pointer)

    def malloc_trim(self, pad: int) -> int:
        """malloc_trim(3)."""
        return self._int("malloc_trim", pad)

    def mallopt(self, parameter: int, value: int) -> int:
        """mallopt(3)."""
        return self._int("mallopt", parameter, value)

    def mallinfo(self) -> dict[str, int]:
        """mallinfo(3), field by field, wrapped ints included."""
        self._call("mallinfo", self._vector)
        return dict(zip(MALLINFO, struct.unpack("<10i", self.read(self._vector, 40)), strict=True))

    def mallinfo2(self) -> dict[str, int]:
        """mallinfo2(3), field by field."""
        self._call("mallinfo2", self._vector)
        return dict(zip(MALLINFO, struct.unpack("<10Q", self.read(self._vector, 80)), strict=True))

    def malloc_stats(self) -> str:
        """The text that malloc_stats(3) writes to standard error."""
        self._call("malloc_stats")
        return self._said()

    def malloc_info(self) -> str:
        """The XML that malloc_info(3) writes."""
        self._call("malloc_info")
        return self._said()

    # System calls, as the C library offers them.

    def brk(self, address: int) -> int:
        """brk(2): 0 or -1."""
        return self._int("brk", address)

    def sbrk(self, increment: int) -> int:
        """sbrk(2): the old break or -1."""
        return self._address("sbrk", increment)

    def mmap(
        self,
        address: int = 0,
        length: int = 0,
        prot: int = _READ_WRITE,
        flags: int = _PRIVATE_ANONYMOUS,
        fd: int = -1,
        offset: int = 0,
    ) -> int:
        """mmap(2): the address or -1."""
        return self._address("mmap", address, length, prot, flags, fd, offset)

    def munmap(self, address: int, length: int) -> int:
        """munmap(2)."""
        return self._int("munmap", address, length)

    def mremap(
        self, address: int, old_length: int, new_length: int, flags: int = _MAYMOVE, new_address: int = 0
    ) -> int:
        """mremap(2): the address or -1."""
        return self._address("mremap", address, old_length, new_length, flags, new_address)

    def mprotect(self, address: int, length: int, prot: int) -> int:
        """mprotect(2)."""
        return self._int("mprotect", address, length, prot)

    def madvise(self, address: int, length: int, advice: int) -> int:
        """madvise(2)."""
        return self._int("madvise", address, length, advice)

    def mlock(self, address: int, length: int) -> int:
        """mlock(2)."""
        return self._int("mlock", address, length)

    def mlock2(self, address: int, length: int, flags: int) -> int:
        """mlock2(2)."""
        return self._int("mlock2", address, length, flags)

    def munlock(self, address: int, length: int) -> int:
        """munlock(2)."""
        return self._int("munlock", address, length)

    def mincore(self, address: int, length: int) -> bytes:
        """mincore(2): a byte a page; empty when it fails, with errno set."""
        pages = -(-length // 4096)
        if pages > _ROOM:
            raise UserError(f"mincore of {pages} pages: {_ROOM} are the most at once")
        failed = self._int("mincore", address, length, self._vector)
        error, faults = self.errno, (self.minflt, self.majflt)
        seen = b"" if failed else self.read(self._vector, pages)
        self.errno, (self.minflt, self.majflt) = error, faults
        return seen

    def msync(self, address: int, length: int, flags: int) -> int:
        """msync(2)."""
        return self._int("msync", address, length, flags)

    def memfd_create(self, name: str) -> int:
        """memfd_create(2)."""
        self._ask(_STORE, 0, (self._vector,), name.encode()[:200] + b"\0")
        return self._int("memfd_create", self._vector, 0)

    def ftruncate(self, fd: int, length: int) -> int:
        """ftruncate(2)."""
        return self._int("ftruncate", fd, length)

    def open(self, path: str) -> int:
        """open(2) of "/dev/zero" for reading and writing. UserError: any other path."""
        if path != "/dev/zero":
            raise UserError(f"open {path!r}: the process opens /dev/zero; files in memory come from memfd_create")
        return self._int("open_zero")

    # The program's own accesses.

    def read(self, address: int, length: int) -> bytes:
        """`length` bytes at `address`."""
        return self._pieces(address, length)

    def _pieces(self, address: int, length: int) -> bytes:
        found, minflt, majflt = b"", 0, 0
        for at in range(0, length, _ROOM):
            found += self._ask(_LOAD, 0, (address + at, min(_ROOM, length - at)))[1]
            minflt, majflt = minflt + self.minflt, majflt + self.majflt
        self.minflt, self.majflt = minflt, majflt
        return found

    def write(self, address: int, data: bytes) -> None:
        """Store `data` at `address`, byte by byte upwards."""
        minflt, majflt = 0, 0
        for at in range(0, len(data), _ROOM):
            self._ask(_STORE, 0, (address + at,), data[at : at + _ROOM])
            minflt, majflt = minflt + self.minflt, majflt + self.majflt
        self.minflt, self.majflt = minflt, majflt

    def memset(self, address: int, value: int, length: int) -> None:
        """memset(3), byte by byte upwards."""
        self._ask(_FILL, 0, (address, value, length))

    def memcpy(self, to: int, source: int, length: int) -> None:
        """memcpy(3), byte by byte upwards."""
        self._ask(_COPY, 0, (to, source, length))

    def touch(self, address: int, length: int) -> None:
        """A write access to each page; the bytes stay what they are."""
        self._ask(_TOUCH, 0, (address, length))

    # The process.

    def fork(self) -> Process:
        """fork(2): the child."""
        ours, pid = self._with_socket(_FORK)
        return self._another(Process.__new__(Process), ours, pid)

    def thread(self) -> Thread:
        """pthread_create(3): a new thread of this process, which makes the same calls."""
        ours, number = self._with_socket(_THREAD)
        if number < 0:
            ours.close()
            raise UserError(f"process {self.pid} has no more threads to give: 16 are the most")
        thread = Thread.__new__(Thread)
        thread.number, thread.owner = number, self
        return self._another(thread, ours, self.pid)

    def _with_socket(self, kind: int) -> tuple[socket.socket, int]:
        """A command that makes something new that will answer on the socket sent along; our end of it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            return ours, self._ask(kind, 0, (), descriptor=theirs.fileno())[0]

    def _another(self, made: _Made, line: socket.socket, pid: int) -> _Made:
        made._started = None
        made._messages = os.dup(self._messages)
        made._vector = self._vector
        made._begin(line, pid)
        self._children.append(made)
        made._heard(line.recv(1 << 10))
        return made

    def exit(self, status: int = 0) -> NoReturn:
        """exit_group(2). Exited is raised, as every call raises what ends the process."""
        self._leave(Exited(status))

    def _leave(self, death: Exited) -> NoReturn:
        with contextlib.suppress(SubjectDied):
            self._ask(_LEAVE, 0, (death.status,))
        raise death

    def maps(self) -> str:
        """/proc/PID/maps, without [vsyscall], which is no mapping of the process."""
        text = Path(f"/proc/{self.pid}/maps").read_text()
        return "".join(line for line in text.splitlines(keepends=True) if "[vsyscall]" not in line)

    def close(self) -> None:
        """End the process and its children."""
        for child in self._children:
            child.close()
        self._line.close()
        if self._messages >= 0:
            os.close(self._messages)
            self._messages = -1
        if self._started is not None:
            self._started.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Thread(Process):
    """A thread of a process on the host; `Process.thread` makes it."""

    number: int
    owner: Process

    def exit(self, status: int = 0) -> None:  # type: ignore[override]
        """The thread ends, and is joined: its tcache is flushed, its arena given up."""
        self._ask(_RETURN, 0, ())
        self.owner._ask(_JOIN, 0, (self.number,))
        self.close()


_Made = TypeVar("_Made", bound=Process)
