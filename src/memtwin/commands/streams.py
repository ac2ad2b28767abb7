# SPDX-License-Identifier: LGPL-2.1-or-later
"""Standard streams that are closed, on a full device, or a pipe that nobody reads any more."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator

OUTPUT_FAILED = 1  # exit status


def open_missing() -> None:
    """What is said to a stream that was closed at the start goes nowhere. A program that is started finds it closed:
    what Python opens is not inherited."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, io.TextIOWrapper(io.FileIO(os.devnull, "w"), encoding="utf-8"))


@contextlib.contextmanager
def output_kept_apart() -> Iterator[None]:
    """What is printed in here may fail to be written, which is told in one line and stops nothing.

    For what a command prints when its job is done, so that the job's exit status is kept.
    """
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        if not is_of_output(error):
            raise
        tell_of_output(error)


def is_of_output(error: OSError) -> bool:
    """Whether it comes from writing to a stream: errors with files name the file."""
    return error.filename is None and error.errno in (errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EBADF, errno.EFBIG)


def tell_of_output(error: OSError) -> None:
    """One line about output that could not be written, but not about a reader who has seen enough."""
    if error.errno != errno.EPIPE:
        with contextlib.suppress(OSError):
            print(f"memtwin: standard output: {error.strerror}", file=sys.stderr, flush=True)
    for stream in (sys.stdout, sys.stderr):  # what is still buffered would fail again at the end
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
