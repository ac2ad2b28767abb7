# SPDX-License-Identifier: LGPL-2.1-or-later
"""Plants one fault in the uncompiled twin, plays the recorded sequences on it, and prints what the checks find.

Run by test_planted.py with src on the path, so that functions and constants can be replaced:
python planted.py FAULT GOLDEN… ; exit status 0 when nothing is found, 1 when something is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from memtwin.kernel import census, fault, fork, mapping, mm
from memtwin.verify.golden import Playback, Recorded, read_golden
from memtwin.verify.host import Start
from memtwin.verify.session import Session
from memtwin.verify.twin import KernelTwin


def wrong_merge() -> None:
    """Anonymous mappings become one whatever AnonVmas their pages belong to."""
    for module in (mapping, fault):
        for name in ("anon_fits", "anon_alike"):
            if hasattr(module, name):
                setattr(module, name, lambda target, source: True)


def missed_cow() -> None:
    """fork leaves the parent's and the child's pages writable."""
    fork.PTE_WRITABLE = 0


def frame_leak() -> None:
    """Every seventh frame that nobody maps any more is not given back."""
    honest = mm.Mm.unmap
    count = [0]

    def unmap(self: mm.Mm, pte: int, address: int) -> bool:
        gone = honest(self, pte, address)
        count[0] += gone
        return gone and count[0] % 7 != 0

    mm.Mm.unmap = unmap  # type: ignore[method-assign]


def narrow_fault_around() -> None:
    """A read of a file brings one page too few."""
    honest = fault.around

    def around(*arguments: int) -> tuple[int, int]:
        first, last = honest(*arguments)
        return first, max(last - 1, first + 1)

    fault.around = around


def no_guard_gap() -> None:
    """A mapping may lie directly below a stack."""
    mapping.start_gap = lambda mm, vma: vma.start


def wrong_pss() -> None:
    """A page that two map counts in full for each."""
    census.PSS_SHIFT = 0


FAULTS: dict[str, Callable[[], None]] = {
    "none": lambda: None,
    "wrong merge rule": wrong_merge,
    "missed copy on write": missed_cow,
    "frame leak": frame_leak,
    "off by one in fault-around": narrow_fault_around,
    "no guard gap": no_guard_gap,
    "wrong share": wrong_pss,
}


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
    FAULTS[sys.argv[1]]()
    for name in sys.argv[2:]:
        shown = look(Path(name))
        if shown:
            print(shown)
            sys.exit(1)
