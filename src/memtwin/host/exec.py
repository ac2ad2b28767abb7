# SPDX-License-Identifier: LGPL-2.1-or-later
"""A real program, stopped right after execve: its layout as the kernel made it, before its first instruction."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from typing import NoReturn

from memtwin.errors import ExecError
from memtwin.host.personality import without_randomisation

_PTRACE_TRACEME = 0  # sys/ptrace.h


@contextlib.contextmanager
def stopped_at_exec(argv: Sequence[str], env: Mapping[str, str] | None = None) -> Iterator[int]:
    """Start argv[0], a path, without address randomisation; the pid of the stopped process, which ends with the block.

    ExecError when Linux does not start it: execve's errno, or `killed` when it died instead of getting one.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    told, tell = os.pipe()
    with without_randomisation():
        pid = os.fork()
        if pid == 0:
            _become(libc, argv, dict(env or {}), tell)
    os.close(tell)
    with open(told, "rb") as answer:
        number = int(answer.read() or b"0")
    _, status = os.waitpid(pid, 0)
    started = os.WIFSTOPPED(status) and os.WSTOPSIG(status) == signal.SIGTRAP
    if not started:
        if os.WIFSTOPPED(status):  # by the SIGSEGV that kills it
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        raise ExecError(argv[0], number or errno.EINVAL, "the host's kernel says so", killed=number == 0)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _become(libc: ctypes.CDLL, argv: Sequence[str], env: dict[str, str], tell: int) -> NoReturn:
    """The child's part: stop after execve, or write its errno to the pipe, which a successful one closes."""
    libc.ptrace(_PTRACE_TRACEME, 0, 0, 0)
    try:
        os.execve(argv[0], list(argv), env)
    except OSError as error:
        os.write(tell, b"%d" % (error.errno or 0))
    os._exit(1)
