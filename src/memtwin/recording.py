# SPDX-License-Identifier: LGPL-2.1-or-later
"""`record`: run a real program, keep its allocation events as a trace."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from memtwin.errors import TraceError, UserError
from memtwin.host.program import Program, find_program
from memtwin.host.record import program_environment, recorder_environment, run_program
from memtwin.trace.convert import Progress
from memtwin.trace.raw import OTHER_MALLOC, STATUS_WORDS, RawFile
from memtwin.trace.rawdir import RawDirectory, new_recording
from memtwin.trace.reader import Trace, open_trace


@dataclass(frozen=True)
class Recorded:
    """What came of running a program under the recorder."""

    status: int  # of the program: its exit status, or 128 + the signal that ended it
    trace: Trace | None  # None when nothing was recorded: then the directory is gone; or not imported, see `problems`
    reason: str | None  # why nothing of the program itself was recorded, in one line; its children may be in the trace
    problems: tuple[str, ...]  # what could not be imported, a line each; it lies in DIRECTORY/raw


def record(
    command: Sequence[str],
    directory: Path | str,
    *,
    fast: bool = False,
    sample: bool = True,
    progress: Callable[[], AbstractContextManager[Progress | None]] = nullcontext,
) -> Recorded:
    """Run `command` under the recorder with this process's standard streams; import what it did into `directory`.

    fast: number the events without a lock; the order of events of different threads is then approximate.
    sample: measure the resident size meanwhile. progress: opened when the import begins; told bytes done and all.
    The program runs and ends as it would without the recorder, also when nothing can be recorded. Ctrl-C during the
    import leaves a trace that says it is not complete; `memtwin trace DIRECTORY` completes it.
    UserError before the program is started: when it cannot be executed, or the directory is not to be had.
    """
    program = find_program(list(command))
    directory = Path(directory)
    with new_recording(directory, command) as raw:
        try:
            environment = program_environment() if program.spare else recorder_environment(raw.path, fast, sample)
            ended = run_program(program, environment)
        except BaseException:
            if not any(raw.path.glob("*.raw")):
                raw.discard()
            raise
        reason, worthwhile = _what_is_missing(program, raw, ended.pid)
        if not worthwhile:
            raw.discard()
            return Recorded(ended.status, None, reason, ())
        try:
            with progress() as report:
                done = raw.finish(report)
        except UserError as error:  # the disk is full: the program has ended as it did, and nothing of it is lost
            return Recorded(ended.status, None, reason, (str(error),))
    return Recorded(ended.status, open_trace(directory), reason, tuple(done.problems))


def _what_is_missing(program: Program, raw: RawDirectory, pid: int) -> tuple[str | None, bool]:
    """Why nothing of the program itself was recorded (None: it was), and whether anything was recorded at all."""
    reason: str | None = None
    found = of_program = worthwhile = False
    for path in sorted(raw.path.glob("*.raw")):
        found = True
        mine = path.name.startswith(f"{pid}.")
        try:
            file = RawFile(path)
        except TraceError:
            worthwhile = True  # the import will tell what is wrong with it
            continue
        if file.header.status != OTHER_MALLOC:
            worthwhile = True
            of_program = of_program or mine
        elif mine:
            reason = f"it brings its own malloc, {file.texts().get('malloc_path', '?')}"
    if of_program:
        return None, True
    return f"nothing of {Path(program.path).name} was recorded: {reason or _guess(program, raw, found)}", worthwhile


def _guess(program: Program, raw: RawDirectory, found: bool) -> str:
    """Why there is no file of the program: what was known before, or what the directory looks like now."""
    if program.obstacle:
        return program.obstacle
    room = os.statvfs(raw.path)
    if not room.f_bavail or not room.f_favail:
        return f"{STATUS_WORDS[1]} ({raw.directory})"
    return "it ended before its loader had taken the recorder in" if not found else "only its children were recorded"
