# SPDX-License-Identifier: LGPL-2.1-or-later
"""DIR/raw: where the recorder's files lie while a program is recorded, and until they are imported.

Whoever records or imports holds a lock on the directory, so that a second memtwin leaves it alone. The command line
lies beside the raw files: an import that was cut short, by a crash or a full disk, can be finished at any time.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from memtwin.errors import TraceError, UserError
from memtwin.trace.convert import Imported, Progress, import_raw
from memtwin.trace.header import load_json
from memtwin.trace.parquet import read_plain_file
from memtwin.trace.schema import RAW_DIRECTORY
from memtwin.trace.writer import prepare_directory, remove_raw_directory

_COMMAND = "command.json"


class RawDirectory:
    """The raw directory of a trace; made by `new_recording` and `unfinished_import`, which hold its lock."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / RAW_DIRECTORY

    def command(self) -> tuple[str, ...]:
        """What was run; empty when that is not known."""
        if not (self.path / _COMMAND).exists():
            return ()
        words = load_json(read_plain_file(self.path / _COMMAND), str(self.path / _COMMAND)).get("command")
        return tuple(word for word in words if isinstance(word, str)) if isinstance(words, list) else ()

    def discard(self) -> None:
        """Forget the recording; a directory that has nothing else in it goes as well."""
        remove_raw_directory(self.path)
        if not any(self.directory.iterdir()):
            self.directory.rmdir()

    def finish(self, progress: Progress | None = None) -> Imported:
        """Import all raw files; they are deleted unless something was left out or the import was interrupted.

        Whatever Parquet files an earlier, unfinished import left are replaced. Errors: those of `import_raw`;
        UserError when the disk is full.
        """
        try:
            done = import_raw(sorted(self.path.glob("*.raw")), self.directory, self.command(), progress)
            if done.complete and not done.problems:
                remove_raw_directory(self.path)
        except OSError as error:
            raise UserError(
                f"{self.directory}: {error.strerror or error}; make room, then `memtwin trace {self.directory}` goes on"
            ) from None
        return done


@contextmanager
def new_recording(directory: Path, command: Sequence[str]) -> Iterator[RawDirectory]:
    """An empty raw directory in `directory`, which is made or, when it holds an older trace, emptied.

    UserError when the directory is neither empty nor a trace, cannot be written, or is in use.
    """
    if (directory / RAW_DIRECTORY).is_dir():
        with _locked(directory / RAW_DIRECTORY):
            prepare_directory(directory)
    else:
        prepare_directory(directory)
    raw = RawDirectory(directory)
    try:
        raw.path.mkdir()
    except OSError as error:
        raise UserError(f"{directory}: {error.strerror}; name another directory with -o") from None
    with _locked(raw.path):
        try:
            (raw.path / _COMMAND).write_text(json.dumps({"command": list(command)}) + "\n")
        except OSError as error:
            raw.discard()
            raise UserError(f"{directory}: {error.strerror}; name another directory with -o") from None
        yield raw


@contextmanager
def unfinished_import(directory: Path) -> Iterator[RawDirectory | None]:
    """The raw directory of a trace whose import was cut short, None when there is none.

    TraceError when the program is still being recorded.
    """
    raw = RawDirectory(directory)
    if raw.path.is_symlink() or not raw.path.is_dir():
        yield None
        return
    with _locked(raw.path):
        yield raw


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TraceError(f"{path.parent}: another memtwin is recording there; wait until it has ended") from None
        yield
    finally:
        os.close(descriptor)
