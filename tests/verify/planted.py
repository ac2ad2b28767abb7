# SPDX-License-Identifier: LGPL-2.1-or-later
"""Plants one fault in the uncompiled twin, plays the recorded sequences on it, and prints what the checks find.

Run by test_planted.py with src on the path: python planted.py FAULT GOLDEN… ; exit status 0 when nothing is found, 1
when something is. A fault is one line of the twin's own source, changed.
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from memtwin.verify.golden import Playback, Recorded, read_golden
from memtwin.verify.host import Start
from memtwin.verify.session import Session
from memtwin.verify.twin import KernelTwin


class Fault(NamedTuple):
    """Where the line is, what it says, what it is made to say."""

    module: str
    function: str
    line: str
    changed: str


FAULTS = {
    "wrong merge rule": Fault("mapping", "anon_fits", "return target.anon is source.anon", "return True"),
    "missed copy on write": Fault("fork", "share_page", "pte &= ~PTE_WRITABLE", "pass"),
    "frame leak": Fault("mm", "Mm.unmap", "return True", "return bool(pfn % 7)"),
    "off by one in fault-around": Fault("filefault", "fault_around", "first + window", "first + window - 1"),
    "no guard gap": Fault("place", "start_gap", "return vma.start - mm.guard_gap", "return vma.start"),
    "what may only be executed is read": Fault("protect", "key_for", "return VM_PKEY if", "return 0 if"),
    "a share counted whole": Fault("census", "Census.add_entry", "part = part // count", "part = part"),
}


def plant(fault: Fault) -> None:
    """Replace the function by one with the line changed."""
    module = import_module(f"memtwin.kernel.{fault.module}")
    owner: object = module
    *outer, name = fault.function.split(".")
    for part in outer:
        owner = getattr(owner, part)
    honest = getattr(owner, name)
    source = textwrap.dedent(inspect.getsource(honest))
    if fault.line not in source:
        raise SystemExit(f"{fault.module}.{fault.function} has no line {fault.line!r}: choose it anew")
    scope: dict[str, object] = {}
    exec(compile(source.replace(fault.line, fault.changed), fault.module, "exec"), vars(module), scope)
    setattr(owner, name, scope[name])
    for other in [value for key, value in sys.modules.items() if key.startswith("memtwin.")]:
        for key, value in list(vars(other).items()):
            if value is honest:
                setattr(other, key, scope[name])


def look(path: Path) -> str | None:
    """The first difference that the recorded sequences of a file show."""
    _, start, sequences = read_golden(path)
    for recorded in sequences:
        found = play(start, recorded)
        if found:
            return f"{recorded.seed}: {found}"
    return None


def play(start: Start, recorded: Recorded) -> str | None:
    """One recorded sequence on a fresh twin."""
    session = Session(KernelTwin(), Playback(start, recorded))
    difference = session.play(recorded.operations, recorded.observe_every)
    return str(difference) if difference else None


if __name__ == "__main__":
    if sys.argv[1] != "none":
        plant(FAULTS[sys.argv[1]])
    for name in sys.argv[2:]:
        shown = look(Path(name))
        if shown:
            print(shown)
            sys.exit(1)
