# SPDX-License-Identifier: LGPL-2.1-or-later
"""A setting of the whole machine, changed for a while and restored whatever becomes of the test that changed it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Waits for the end of its input, which comes when its parent closes it or dies, by whatever signal; a session of its
# own, so that no signal to the parent's group reaches it. Everything is ready before the setting changes: no fork later.
GUARD = 'trap "" INT TERM HUP; echo ready; read -r line; printf %s "$1" > "$2"'


@contextmanager
def changed(setting: Path, value: str) -> Iterator[None]:
    """The file `setting` has `value` inside; afterwards what it had before, also when this process is killed."""
    before = setting.read_text()
    command = ["sh", "-c", GUARD, "guard", before, str(setting)]
    guard = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    assert guard.stdin is not None and guard.stdout is not None
    assert guard.stdout.readline() == b"ready\n"
    try:
        setting.write_text(value)
        yield
    finally:
        guard.stdin.close()
        guard.wait()
        guard.stdout.close()
    assert setting.read_text() == before
