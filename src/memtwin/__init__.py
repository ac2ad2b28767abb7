# SPDX-License-Identifier: LGPL-2.1-or-later
"""memtwin: a digital twin of a Linux process's memory.

>>> from memtwin import Machine
>>> machine = Machine(ram="64 MiB")
>>> p = machine.spawn()
>>> hex(p.malloc(100))
'0x555555559010'

Names are loaded when they are first used, so that `import memtwin` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memtwin import constants, host, pictures
    from memtwin.errors import (
        Aborted,
        BusError,
        Exited,
        Killed,
        MemoryFault,
        MemtwinError,
        OutOfMemoryKilled,
        SegmentationFault,
        TraceError,
        UserError,
        ValidationError,
    )
    from memtwin.kernel.profile import KernelProfile
    from memtwin.libc.watch import HeapWatch
    from memtwin.structs import layout
    from memtwin.twin.machine import Machine
    from memtwin.twin.process import Process
    from memtwin.twin.threads import Thread

_HOMES = {
    "memtwin.errors": (
        "Aborted", "BusError", "Exited", "Killed", "MemoryFault", "MemtwinError", "OutOfMemoryKilled",
        "SegmentationFault", "TraceError", "UserError", "ValidationError",
    ),
    "memtwin.kernel.profile": ("KernelProfile",),
    "memtwin.libc.watch": ("HeapWatch",),
    "memtwin.twin.machine": ("Machine",),
    "memtwin.twin.process": ("Process",),
    "memtwin.structs": ("layout",),
    "memtwin.twin.threads": ("Thread",),
}  # fmt: skip
_MODULES = ("constants", "host", "pictures")
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Aborted",
    "BusError",
    "Exited",
    "HeapWatch",
    "KernelProfile",
    "Killed",
    "Machine",
    "MemoryFault",
    "MemtwinError",
    "OutOfMemoryKilled",
    "Process",
    "SegmentationFault",
    "Thread",
    "TraceError",
    "UserError",
    "ValidationError",
    "constants",
    "host",
    "layout",
    "pictures",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"memtwin.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'memtwin' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME_OF[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
