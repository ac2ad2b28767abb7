# SPDX-License-Identifier: LGPL-2.1-or-later
"""The files that sequences map: the same on twin and host, and as they were before each sequence."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import tempfile
import time
from pathlib import Path
from typing import Self

from memtwin.verify.disturbance import RECLAIMED, causes_since, read_file_cache, read_vmstat
from memtwin.verify.operations import FILES

PAGE = 4096
FILE_BYTES = 40 * PAGE + 1000  # the last page is partly past the end: touching the next one is SIGBUS
MEMFD_BYTES = 48 * PAGE
FILE_CONTENT = b"".join(bytes([page + 1]) * PAGE for page in range(41))[:FILE_BYTES]
_CLOSED = 99  # a number beyond what the stage opens itself; higher where a descriptor of ours has it
_SYNC_SECONDS = 5.0


class Scene:
    """One open descriptor for each name in FILES; `reset` gives them their first content back.

    The file on disk is written by us, so that all its pages are in the page cache: a read of a page that is not would
    be a major fault with readahead, whose extent is not exact. directory: where it shall lie, on a disk file system.
    """

    def __init__(self, directory: Path | None = None) -> None:
        number, name = tempfile.mkstemp(prefix="memtwin-scene-", dir=directory or "/var/tmp")
        self.path = Path(name)
        self._file = number
        self._memfd = os.memfd_create("scene")
        self._pipe = os.pipe()
        self.descriptors: dict[str, int] = {
            "memfd": self._memfd,
            "file": self._file,
            "readonly": os.open(name, os.O_RDONLY),
            "writeonly": os.open(name, os.O_WRONLY),
            "zero": os.open("/dev/zero", os.O_RDWR),
            "directory": os.open("/", os.O_RDONLY | os.O_DIRECTORY),
            "pipe": self._pipe[0],
        }
        self.descriptors["closed"] = max(_CLOSED, *(number + 1 for number in self.descriptors.values()))
        self._synced = 0.0
        self._before: dict[str, int] = {}
        self._fill()
        self.reset()

    def reset(self) -> None:
        """The first content: the file's pages each full of its number + 1, the memfd without any page.

        The kernel writes pages back that have been dirty for half a minute, at a time of its own choice, and the next
        store to each is a fault then; so they are written back here before they are that old. Where memory was short
        meanwhile, pages may be gone, or back as parts of larger folios; the file gets new ones.
        """
        cache = read_file_cache(self._file)
        if RECLAIMED in causes_since(self._before) or (cache and cache.cached * PAGE < FILE_BYTES):
            os.ftruncate(self._file, 0)
            self._fill()
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            os.fdatasync(self._file)
            self._synced = time.monotonic()
        os.ftruncate(self._memfd, 0)
        os.ftruncate(self._memfd, MEMFD_BYTES)
        os.pwrite(self._file, FILE_CONTENT, 0)
        self._clear_past_end()

    def _fill(self) -> None:
        """The file's content, page by page, so that the page cache holds no larger folios."""
        self._before = read_vmstat()
        for place in range(0, FILE_BYTES, PAGE):
            os.pwrite(self._file, FILE_CONTENT[place : place + PAGE], place)

    def _clear_past_end(self) -> None:
        """Zero what a sequence stored behind the file's end in its last page: it stays until write-back clears it."""
        used = FILE_BYTES % PAGE
        with mmap.mmap(self._file, used, offset=FILE_BYTES - used) as last:
            ctypes.memset(ctypes.addressof(ctypes.c_char.from_buffer(last)) + used, 0, PAGE - used)

    def passed(self) -> list[int]:
        """The descriptors that a stage must inherit."""
        return [number for name, number in self.descriptors.items() if name != "closed"]

    def numbers(self) -> list[int]:
        """Descriptor of each of FILES, in that order."""
        return [self.descriptors[name] for name in FILES]

    def labels(self) -> dict[str, tuple[str, str]]:
        """Of what can be mapped: its name in maps and its "device inode" there."""
        names = {"memfd": "/memfd:scene (deleted)", "zero": "/dev/zero"}
        names.update(dict.fromkeys(("file", "readonly", "writeonly"), str(self.path)))
        return {name: (label, _identity(self.descriptors[name])) for name, label in names.items()}

    def close(self) -> None:
        """Close all and remove the file."""
        for number in self.passed():
            with contextlib.suppress(OSError):
                os.close(number)
        os.close(self._pipe[1])
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _identity(descriptor: int) -> str:
    """Device and inode as maps writes them."""
    status = os.fstat(descriptor)
    return f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x} {status.st_ino}"
