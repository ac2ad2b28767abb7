# SPDX-License-Identifier: LGPL-2.1-or-later
"""What holds for every test: the code under test is the code in this checkout, compiled after its last change."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

import memtwin

SOURCE = Path(__file__).resolve().parents[1] / "src" / "memtwin"
INSTALLED = Path(memtwin.__file__).parent


def stale_files() -> list[str]:
    """Installed files that are not what the checkout holds, and extension modules older than their source."""
    stale = []
    for source in sorted(SOURCE.rglob("*")):
        if source.suffix not in (".py", ".pxd"):
            continue
        installed = INSTALLED / source.relative_to(SOURCE)
        if not installed.exists() or installed.read_bytes() != source.read_bytes():
            stale.append(str(source.relative_to(SOURCE)))
            continue
        for compiled in installed.parent.glob(installed.stem + ".*.so"):
            if compiled.stat().st_mtime < source.stat().st_mtime:
                stale.append(compiled.name)
    return stale


def pytest_sessionstart(session: pytest.Session) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job, whose programs inherit it
    if INSTALLED == SOURCE:
        return  # the uncompiled leg runs the sources themselves
    stale = stale_files()
    if stale:
        pytest.exit(f"stale build, run `make install`: {', '.join(stale[:5])}", returncode=1)
