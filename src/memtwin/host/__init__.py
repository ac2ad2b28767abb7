# SPDX-License-Identifier: LGPL-2.1-or-later
"""The real machine: processes that are driven, recorded and looked at. `Process` is the twin's Process in the flesh."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memtwin.host.process import Process, Thread

__all__ = ["Process", "Thread"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'memtwin.host' has no attribute {name!r}")
    from memtwin.host import process

    return getattr(process, name)
