# SPDX-License-Identifier: LGPL-2.1-or-later
"""Everything memtwin raises.

    MemtwinError                    the root; never raised itself
    ├── UserError                   a mistake in what was asked: one line on stderr, exit status 2
    │   ├── TraceError              a trace file that is truncated, damaged, foreign or hostile
    │   └── ExecError               a program that Linux would not start: errno, and whether it kills instead
    ├── Killed                      what would end a real process
    │   ├── MemoryFault             an access that the kernel answers with a signal: address, access, code, why
    │   │   ├── SegmentationFault   SIGSEGV: si_code 1 no mapping there, 2 or 4 not allowed, 128 no address
    │   │   └── BusError            SIGBUS: si_code 2, past the end of the mapped file
    │   ├── Exited                  the process ended itself: exit, or xmalloc that found no memory
    │   ├── Aborted                 SIGABRT: the C library's own message
    │   └── OutOfMemoryKilled       SIGKILL by the OOM killer
    └── ValidationError             a structure of the twin broke its own rules: a bug in memtwin

C semantics stay C: malloc that finds no memory returns 0 and sets errno; it raises nothing.
"""

from __future__ import annotations

import os
from errno import errorcode as error_names

from memtwin.oneline import one_line


class MemtwinError(Exception):
    """The root of everything memtwin raises."""


class UserError(MemtwinError):
    """A mistake in what was asked; the message names the value, the cause and the mend, on one line."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class TraceError(UserError):
    """A trace that cannot be read; the message names the file and what is wrong in it."""


class ExecError(UserError):
    """A program that Linux would not start.

    errno: execve(2)'s. killed: execve had already given up the old program, so that the process dies of SIGSEGV
    instead of getting the errno.
    """

    def __init__(self, path: str, errno: int, why: str, killed: bool = False) -> None:
        name = error_names.get(errno, str(errno))
        end = "Linux kills it with SIGSEGV at its start" if killed else f"{name}, {os.strerror(errno)}"
        super().__init__(f"{path}: cannot be started ({end}): {why}")
        self.errno = errno
        self.killed = killed


class Killed(MemtwinError):
    """What ends a real process; `signal` is the number of the signal it would die of."""

    signal = 0


class MemoryFault(Killed):
    """An access that the kernel answers with a signal.

    address: the byte that was touched; access: "read", "write" or "execute"; code: the signal's si_code;
    why: the mapping, or the lack of one, in words.
    """

    def __init__(self, address: int, access: str, code: int, why: str) -> None:
        super().__init__(f"{access} at {address:#x}: {why}")
        self.address = address
        self.access = access
        self.code = code
        self.why = why


class SegmentationFault(MemoryFault):
    """SIGSEGV; `code` 1 (SEGV_MAPERR): no mapping there, 2 (SEGV_ACCERR): the mapping does not allow the access, 4
    (SEGV_PKUERR): its protection key allows execution only, 128 (SI_KERNEL): no address of the processor at all, for
    which Linux reports the address 0."""

    signal = 11


class BusError(MemoryFault):
    """SIGBUS; `code` 2 (BUS_ADRERR): the page lies past the end of the mapped file."""

    signal = 7


class Aborted(Killed):
    """SIGABRT; the message is the C library's own, such as "free(): invalid pointer"."""

    signal = 6


class Exited(Killed):
    """The process ended itself; `status` is its exit status, the message what it printed, if anything."""

    def __init__(self, status: int, message: str = "") -> None:
        super().__init__(message or f"exit status {status}")
        self.status = status


class OutOfMemoryKilled(Killed):
    """SIGKILL by the OOM killer; the message gives the badness score and the memory that was asked for."""

    signal = 9


class ValidationError(MemtwinError):
    """A structure of the twin broke its own rules: a bug in memtwin, worth a report with the script that led to it."""
