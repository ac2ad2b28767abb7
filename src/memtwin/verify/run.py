# SPDX-License-Identifier: LGPL-2.1-or-later
"""Many sequences: counted, differences shrunk, everything told in the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from memtwin.verify.compare import Difference
from memtwin.verify.operations import Operation, format_script
from memtwin.verify.session import Played, Session

# What is never compared, and why: said in each report. Fields of smaps are listed in observation.py.
LEFT_OUT = (
    "frame numbers: the kernel hands them out in an order nobody sees; which pages share a frame is compared",
    "the process's own program and the kernel's [vvar] and [vdso]: they are not changed by any operation",
    "smaps' Referenced, LazyFree, KSM, THPeligible, and dirtiness of pages of files on disk: batched or timed",
    "advice that a daemon finishes later or that needs swap or write-back: MERGEABLE, COLLAPSE, PAGEOUT, COLD, REMOVE",
)


@dataclass(frozen=True)
class Found:
    """A difference. seed: of its sequence; script: the shortest sequence that shows it; repeats: whether it showed
    again when the sequence was played anew (what does not, and yet nothing disturbed the host, is reported as well)."""

    seed: str
    field: str
    text: str
    script: str
    repeats: bool


@dataclass
class Report:
    """What a run came to. counts: operations by name; failures: those of them that ended in an errno or a signal.
    disturbed: sequences that were played again, by what the kernel had done meanwhile (Session.settle)."""

    seed: str
    operations: int = 0
    sequences: int = 0
    seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    differences: list[Found] = field(default_factory=list)
    disturbed: dict[str, int] = field(default_factory=dict)
    left_out: tuple[str, ...] = LEFT_OUT


def verify_sequences(
    session: Session,
    seed: str,
    operations: int,
    progress: Callable[[Report], None] = lambda report: None,
    most_differences: int = 5,
) -> Report:
    """Play random sequences until `operations` are done or `most_differences` found. KeyboardInterrupt ends it early
    with what there is; `progress` is called after each sequence."""
    report = Report(seed)
    begin = time.monotonic()
    try:
        while report.operations < operations and len(report.differences) < most_differences:
            name = f"{seed}:{report.sequences}"
            played, difference = session.run(name)
            report.sequences += 1
            report.operations += len(played.operations)
            _count(report, played)
            if difference:
                difference, causes = session.settle(played.operations, difference, session.observe_every)
                for cause in causes:
                    report.disturbed[cause] = report.disturbed.get(cause, 0) + 1
            if difference:
                report.differences.append(_found(session, name, played.operations, difference))
            report.seconds = time.monotonic() - begin
            progress(report)
    except KeyboardInterrupt:
        pass
    return report


def _count(report: Report, played: Played) -> None:
    for operation, outcome in zip(played.operations, played.outcomes, strict=False):
        failed = -4096 < outcome.result < 0 or outcome.signal != 0
        report.counts[operation.name] = report.counts.get(operation.name, 0) + 1
        report.failures[operation.name] = report.failures.get(operation.name, 0) + failed


def _found(session: Session, seed: str, operations: list[Operation], difference: Difference) -> Found:
    """Shrink a difference to its shortest script."""
    again = session.play(operations[: difference.step + 1], session.observe_every)
    if again is None or again.field != difference.field:
        script = operations[: difference.step + 1]
        return Found(seed, difference.field, str(difference), format_script(script, [f"seed {seed}"]), False)
    shortest, shown = session.shrink(operations, difference)
    comments = [f"seed {seed}, {shown.field} differs at the last line:", *shown.detail.splitlines()]
    return Found(seed, shown.field, str(shown), format_script(shortest, comments), True)
