# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs small C programs twice, without the recorder and with it: nothing that can be seen from outside may differ."""

from __future__ import annotations

import os
import subprocess
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from tests.host.raw import Image, read_all

from memtwin.errors import UserError
from memtwin.host.record import recorder_environment, recorder_path

SECONDS = 60


def need_recorder() -> None:
    """Skip where the recorder is not built: the uncompiled run."""
    try:
        recorder_path()
    except UserError as error:
        pytest.skip(str(error))


def need_root(what: str) -> None:
    """Skip without root, saying what needs it."""
    if os.getuid():
        pytest.skip(f"not root: cannot {what}")


def build(directory: Path, text: str, *options: str, name: str = "program") -> str:
    """Compile one C file; the path of the program."""
    source = directory / f"{name}.c"
    source.write_text("#define _GNU_SOURCE\n" + text)
    command = ["cc", "-O1", "-w", "-fno-builtin", source.name, "-o", name, *options]
    subprocess.run(command, cwd=directory, check=True)
    return str(directory / name)


def run(
    command: Sequence[str], environment: Mapping[str, str] | None = None, before: Callable[[], None] | None = None
) -> tuple[int, bytes, bytes]:
    """Status, standard output and standard error."""
    with warnings.catch_warnings():  # since Python 3.12: numpy's threads do no harm, `before` only makes system calls
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        done = subprocess.run(
            command, env=environment, capture_output=True, timeout=SECONDS, check=False, preexec_fn=before
        )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def watch(
    directory: Path,
    *command: str,
    before: Callable[[], None] | None = None,
    environment: Mapping[str, str] | None = None,
    fast: bool = False,
) -> list[Image]:
    """The images of a program whose two runs are equal. before: called in the child ahead of the program."""
    need_recorder()
    directory.mkdir(exist_ok=True)
    with_recorder = {**recorder_environment(directory, fast), **(environment or {})}
    plain = run(command, {**os.environ, **(environment or {})}, before)
    assert run(command, with_recorder, before) == plain
    return read_all(directory)
