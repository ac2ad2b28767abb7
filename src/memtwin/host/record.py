# SPDX-License-Identifier: LGPL-2.1-or-later
"""Starts a program with the recorder in it, and passes on what comes: signals in, its status out.

The program keeps this process's standard streams, directory, process group and terminal. Nothing is between it and
them: what a terminal sends (Ctrl-C, Ctrl-Z, the size of the window) it sends to both, and only memtwin stands by.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from memtwin.errors import UserError
from memtwin.host.program import Program

# A glibc loader that is not of this kind of program finds an empty library there, another loader finds nothing.
_PRELOAD = Path(str(files("memtwin"))) / "host" / "preload"
_LOADER = "/lib64/ld-linux-x86-64.so.2"

# What a user or a service manager sends to the process it has started, to be passed on.
_FORWARDED = frozenset(
    {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH}
)
_COERCED_LOCALES = ("C.UTF-8", "C.utf8", "UTF-8")
_SI_KERNEL = 0x80  # siginfo's si_code: from the terminal, which has sent it to the program as well; sigaction(2)


@dataclass(frozen=True)
class Ended:
    """A program that has ended."""

    pid: int
    status: int  # of the exit, or 128 + the number of the signal that ended it, as a shell has it


def recorder_path() -> Path:
    """The recorder's shared object. UserError when memtwin was built without one."""
    path = _PRELOAD / _loader_directory() / "recorder.so"
    if not path.exists():
        raise UserError(f"this memtwin has no recorder: there is none for {platform.machine()} yet")
    return path


@cache
def _loader_directory() -> str:
    """What this machine's glibc puts for $LIB (ld.so(8), "dynamic string tokens"); its loader tells since 2.33."""
    with contextlib.suppress(OSError):
        told = subprocess.run([_LOADER, "--list-diagnostics"], capture_output=True, text=True, check=False).stdout
        if found := re.search(r'^dl_dst_lib="(.*)"$', told, re.MULTILINE):
            return found[1]
    return "lib/x86_64-linux-gnu"


def recorder_environment(raw: Path, fast: bool = False, sample: bool = True) -> dict[str, str]:
    """This process's environment with what brings the recorder in. It stands first: it must see every allocation."""
    directory = recorder_path().parent
    words = [str(directory).removesuffix(_loader_directory()) + "$LIB/recorder.so", os.environ.get("LD_PRELOAD", "")]
    added = {"LD_PRELOAD": ":".join(filter(None, words)), "MEMTWIN_TRACE": str(raw.resolve())}
    if fast:
        added["MEMTWIN_FAST"] = "1"
    if not sample:
        added["MEMTWIN_SAMPLE"] = "0"
    environment = program_environment()
    # A child that is built with AddressSanitizer would refuse to run behind the recorder, which stands aside there.
    added["ASAN_OPTIONS"] = ":".join(filter(None, (environment.get("ASAN_OPTIONS"), "verify_asan_link_order=0")))
    return {**environment, **added}


def program_environment() -> dict[str, str]:
    """This process's environment, without what Python put into it: LC_CTYPE, in the C locale (PEP 538)."""
    environment = dict(os.environ)
    if environment.get("LC_CTYPE") in _COERCED_LOCALES and not _was_given("LC_CTYPE"):
        del environment["LC_CTYPE"]
    return environment


def _was_given(name: str) -> bool:
    """Whether this process was started with the variable in its environment, as far as can be known."""
    try:
        return any(
            word.startswith(name.encode() + b"=") for word in Path("/proc/self/environ").read_bytes().split(b"\0")
        )
    except OSError:
        return True


def run_program(program: Program, environment: Mapping[str, str]) -> Ended:
    """Start a program, wait for its end, forward signals meanwhile. UserError when the kernel refuses to start it."""
    with _signals_held() as before:
        try:
            # Python ignores SIGPIPE and SIGXFSZ; the program shall not inherit that.
            pid = os.posix_spawn(program.path, program.arguments, environment, setsigmask=before,
                                 setsigdef=[signal.SIGPIPE, signal.SIGXFSZ])  # fmt: skip
        except OSError as error:
            raise UserError(f"{program.path}: {error.strerror}") from None
        return Ended(pid, _wait(pid))


@contextlib.contextmanager
def _signals_held() -> Iterator[set[int]]:
    """What is forwarded waits until it is asked for; yields the mask of before, which is the program's.

    Only in the main thread: elsewhere signals are the caller's business.
    """
    if threading.current_thread() is not threading.main_thread():
        yield signal.pthread_sigmask(signal.SIG_BLOCK, [])
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED | {signal.SIGCHLD})
    try:
        yield before
        while signal.sigtimedwait([signal.SIGINT, signal.SIGQUIT], 0):
            pass  # the terminal's, meant for the program
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wait(pid: int) -> int:
    """Wait for the program's end; its status."""
    if threading.current_thread() is threading.main_thread():
        _forward_signals(pid)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _forward_signals(pid: int) -> None:
    """Until the program has ended: signals that a person or a program has sent go on to it, a terminal's do not."""
    # A SIGCHLD may be taken by any thread of this process that does not block it, and is lost then; this one is not.
    threading.Thread(target=_tell_of_end, args=(pid, threading.get_ident()), daemon=True).start()
    while True:
        info = signal.sigwaitinfo(_FORWARDED | {signal.SIGCHLD})
        if info.si_signo == signal.SIGCHLD:
            if info.si_pid == os.getpid():
                return
        elif info.si_code != _SI_KERNEL:
            os.kill(pid, info.si_signo)


def _tell_of_end(pid: int, waiting: int) -> None:
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    signal.pthread_kill(waiting, signal.SIGCHLD)
