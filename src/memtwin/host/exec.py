# SPDX-License-Identifier: LGPL-2.1-or-later
"""A real program, stopped right after execve: its layout as the kernel made it, before its first instruction."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterator, Mapping, Sequence

from memtwin.errors import UserError
from memtwin.host.personality import without_randomisation

_PTRACE_TRACEME = 0  # sys/ptrace.h
_NOT_STARTED = 127


@contextlib.contextmanager
def stopped_at_exec(argv: Sequence[str], env: Mapping[str, str] | None = None) -> Iterator[int]:
    """Start argv[0], a path, without address randomisation; the pid of the stopped process, which ends with the block.

    UserError when it cannot be started.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    with without_randomisation():
        pid = os.fork()
        if pid == 0:
            libc.ptrace(_PTRACE_TRACEME, 0, 0, 0)
            with contextlib.suppress(OSError):
                os.execve(argv[0], list(argv), dict(env or {}))
            os._exit(_NOT_STARTED)
    _, status = os.waitpid(pid, 0)
    if not os.WIFSTOPPED(status):
        raise UserError(f"{argv[0]}: cannot be started; give the path of a program")
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
