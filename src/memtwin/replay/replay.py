# SPDX-License-Identifier: LGPL-2.1-or-later
"""replay: every process image of a trace through its twin, children continuing from their parents at the fork.

A child is replayed while its parent waits at the fork, and is gone when the parent goes on. So at one time there are
as many twins as generations, whatever the number of processes; and what a child writes does not depend on how fast it
was.

The peak of an image is known only at its end. Its ledger is taken in a second pass up to that event, on a twin that
begins in the same state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from memtwin.errors import UserError
from memtwin.replay.image import ImageReplay, Sample, samples_of
from memtwin.replay.ledger import take_ledger
from memtwin.replay.result import Ledger, ProcessResult
from memtwin.replay.surroundings import Moment, Surroundings, first_guess
from memtwin.replay.twin import Options, Twin

if TYPE_CHECKING:
    from memtwin.trace.reader import MapsSnapshot, ProcessImage, Trace

Progress = Callable[[int], None]  # told how many more events have been played
Begin = Callable[["dict[int, Any] | None"], Twin]  # a twin in the image's first state, with corrections to follow


@dataclass
class Replay:
    """What a replay of a trace found: the processes in the order of the trace, and the options it was made with."""

    processes: list[ProcessResult] = field(default_factory=list)
    options: Options = field(default_factory=Options)
    surroundings: dict[str, Surroundings] = field(default_factory=dict)

    def process(self, key: str) -> ProcessResult | None:
        """The result of the image with this key."""
        return next((one for one in self.processes if one.key == key), None)

    @property
    def exact(self) -> bool:
        """Whether every process stands on its own recorded addresses."""
        return all(one.exact for one in self.processes)


def replay(
    trace: Trace,
    options: Options = Options(),  # noqa: B008
    real: Replay | None = None,
    *,
    ledgers: bool = True,
    progress: Progress | None = None,
) -> Replay:
    """Replay all images of `trace`.

    real: the replay of what really happened, which one under other settings needs; it is made when it is not given.
    ledgers: whether to take them, which walks every heap and plays up to the peak a second time.
    UserError: an unknown glibc or setting. TraceError: a trace that cannot be read.
    """
    if options.what_if and real is None:
        real = replay(trace, Options(nearest=options.nearest), ledgers=False)
    run = _Run(trace, options, real, ledgers, progress)
    run.all()
    return run.replay


_MOST_GENERATIONS = 64  # of processes that are replayed inside each other


class _Run:
    """One replay on its way. `strict`: images whose family lost events; their pointers are all kept in a map.

    generations: how many ancestors each image has in the trace.
    """

    def __init__(
        self, trace: Trace, options: Options, real: Replay | None, ledgers: bool, progress: Progress | None
    ) -> None:
        self.trace = trace
        self.options = options
        self.real = real
        self.ledgers = ledgers
        self.progress = progress
        self.replay = Replay(options=options)
        self.results: dict[str, ProcessResult] = {}
        self.strict = _families_with_losses(trace)
        self.generations: dict[str, int] = {}
        for image in trace.processes:
            self.generations[image.key] = self.generations[image.parent.key] + 1 if image.parent else 0

    def all(self) -> None:
        """Every image once; results in the order of the trace."""
        for image in self.trace.processes:
            if image.key not in self.results and not self._continues(image):
                self._image(image, self._beginning(image), self._too_deep(image))
        for image in self.trace.processes:
            if image.key not in self.results:
                self._image(image, self._beginning(image), "its parent's history is missing from the trace")
        self.replay.processes = [self.results[image.key] for image in self.trace.processes]

    def _continues(self, image: ProcessImage) -> bool:
        return image.origin == "fork" and image.parent is not None and not self._too_deep(image)

    def _too_deep(self, image: ProcessImage) -> str:
        """Why a fork child does not continue from its parent: there would be too many twins at a time; else ""."""
        generation = self.generations[image.key]
        again = image.origin == "fork" and generation and generation % _MOST_GENERATIONS == 0
        return f"begun anew: the {generation}th generation of forked processes" if again else ""

    def _beginning(self, image: ProcessImage) -> Begin:
        """How the twin of an image with memory of its own begins."""

        def begin(corrections: dict[int, Any] | None) -> Twin:
            snapshot = next(image.snapshots(), None)
            twin = Twin.begin(image.header, snapshot, self.options, corrections)
            twin.player.strict = image.key in self.strict or image.origin == "fork"  # its parent's blocks are unknown
            return twin

        return begin

    def _image(self, image: ProcessImage, begin: Begin, note: str = "") -> None:
        result = self.results[image.key] = _blank(image, self.options)
        if note:
            result.notes.append(note)
        if not _replayable(image, result):
            return
        _Work(self, image, begin, result).run()


class _Work:
    """One image's passes. `aside`: seconds that went into its children."""

    def __init__(self, run: _Run, image: ProcessImage, begin: Begin, result: ProcessResult) -> None:
        self.run_of = run
        self.image = image
        self.begin = begin
        self.result = result
        self.aside = 0.0
        self.taken_event = 0
        self.samples = samples_of(image)
        given = run.real.surroundings[image.key] if run.real and image.key in run.real.surroundings else None
        self.measures = given is None
        self.found = given or Surroundings()
        run.replay.surroundings[image.key] = self.found
        if self.measures:
            self._begin_surroundings()

    def _begin_surroundings(self) -> None:
        moment = first_guess(first_measured(self.image))
        parent = self.image.parent
        if not moment.total and parent and parent.key in self.run_of.replay.surroundings:
            moment = self.run_of.replay.surroundings[parent.key].at(self.image.parent_event)._replace(event=0)
        self.found.moments.append(moment)

    def run(self) -> None:
        """All passes, and the figures of the result."""
        started = perf_counter()
        twin = self.begin(None if self.measures else self.found.corrections)
        work = self._pass(twin, real=self.measures, forks=self._forks(twin))
        if self.measures:
            twin.player.set_other(0, self.found.at(0).total - twin.library_bytes())
        work.run(self.run_of.progress)
        self.result.seconds = perf_counter() - started - self.aside
        if self.measures:
            self.found.corrections = twin.mappings.corrections
        self._fill(twin, work)
        if self.run_of.ledgers:
            self.result.final = take_ledger(twin, self.found.at(work.until), work.played)
            self.result.final_rss_bytes = self.result.final.rss_bytes
        twin.end()
        del twin, work
        if self.run_of.ledgers:
            self._take_peak()

    def _pass(
        self,
        twin: Twin,
        *,
        real: bool,
        forks: dict[int, Callable[[], None]] | None = None,
        until: int | None = None,
    ) -> ImageReplay:
        return ImageReplay(self.image, twin, self.found, real=real, samples=self.samples, forks=forks, until=until)

    def _forks(self, twin: Twin) -> dict[int, Callable[[], None]]:
        """By event, what replays the children that begin after it."""
        by_event: dict[int, list[ProcessImage]] = {}
        for child in self.image.children:
            if self.run_of._continues(child):
                by_event.setdefault(child.parent_event, []).append(child)
        return {event: self._children(twin, children) for event, children in by_event.items()}

    def _children(self, twin: Twin, children: list[ProcessImage]) -> Callable[[], None]:
        def begin_children() -> None:
            started = perf_counter()
            for child in children:
                self.run_of._image(child, partial(twin.fork, child.pid, child.events))
            self.aside += perf_counter() - started

        return begin_children

    def _fill(self, twin: Twin, work: ImageReplay) -> None:
        result, player = self.result, twin.player
        result.compared, result.equal, result.unknown = player.compared, player.equal, player.unknown
        result.lost = max(work.lost, self.image.header.lost)
        result.first_mismatch = work.mismatch
        result.abort, result.stopped_at = work.abort, work.stopped_at
        result.minor_faults = twin.faults()
        result.system_calls = dict(twin.system_calls() + work.program_calls)
        result.peak_rss_bytes = player.line.peak
        result.peak_event = player.line.peak_event
        self.taken_event = player.line.taken_event
        result.final_rss_bytes = twin.allocator_bytes() + self.found.at(work.until).total
        result.samples = work.comparisons
        result.time_line = _time_line(player.line.list(), self.samples)
        if work.abort and not result.stopped_as_recorded:
            result.notes.append(f"the twin stopped before the end, at event {work.stopped_at:,}: {work.abort}")

    def _take_peak(self) -> None:
        """The ledger at the peak: that of the end if it was reached only there, else of a second pass up to it.

        The allocator's part is of the event that took the memory, the rest of the peak itself.
        """
        result = self.result
        if result.final and self.taken_event >= result.final.event - 1:
            result.peak = result.final
        else:
            result.peak = self._ledger_at(self.taken_event, self.found.at(result.peak_event + 1))
        result.peak_rss_bytes = result.peak.rss_bytes

    def _ledger_at(self, event: int, moment: Moment) -> Ledger:
        twin = self.begin(self.found.corrections)
        work = self._pass(twin, real=False, until=event)
        work.run()
        ledger = take_ledger(twin, moment, event)
        twin.end()
        return ledger


def first_measured(image: ProcessImage) -> MapsSnapshot | None:
    """The first snapshot with resident sizes."""
    table = image.maps()
    measured = table.filter(pc.is_valid(table["rss_bytes"]))
    if not len(measured):
        return None
    number = measured["snapshot"][0].as_py()
    return next((one for one in image.snapshots() if one.number == number), None)


def _families_with_losses(trace: Trace) -> set[str]:
    """Keys of the images that lost events or have a fork child, of any generation, that did."""
    found: set[str] = set()
    for image in reversed(trace.processes):
        if image.header.lost or image.key in found:
            found.add(image.key)
            if image.origin == "fork" and image.parent:
                found.add(image.parent.key)
    return found


def _blank(image: ProcessImage, options: Options) -> ProcessResult:
    header = image.header
    glibc = options.release(header) if header.glibc else ""
    result = ProcessResult(image.key, image.pid, image.command, glibc, events=image.events, origin=image.origin)
    result.parent = image.parent.key if image.parent else None
    result.notes += header.notes
    if header.mode == "fast":
        result.notes.append("recorded without the lock: the order between threads is approximate")
    if header.huge_pages == "always":
        result.notes.append("huge pages were given to all; the twin has none of those that khugepaged makes later")
    return result


def _replayable(image: ProcessImage, result: ProcessResult) -> bool:
    header = image.header
    if header.allocator != "glibc":
        result.notes.append(f"nothing to replay: the program's malloc is {header.allocator}'s")
    elif not image.events:
        result.notes.append("nothing to replay: no event was recorded")
    elif header.architecture not in ("x86_64", ""):
        raise UserError(f"{image.key}: recorded on {header.architecture}; the replay knows x86_64")
    else:
        return True
    return False


def _time_line(points: list[Any], samples: list[Sample]) -> list[dict[str, Any]]:
    """The points with the second of each, read off the samples' clock."""
    events = np.array([0, *(sample.event for sample in samples)], float)
    times = np.array([0, *(sample.time_ns for sample in samples)], float) / 1e9
    seconds = np.interp([point.event for point in points], events, times) if samples else [None] * len(points)
    return [
        {
            "event": point.event,
            "seconds": None if second is None else round(float(second), 6),
            "rss_bytes": point.rss_bytes,
            "live_bytes": point.live_bytes,
            "last_rss_bytes": point.last_rss_bytes,
        }
        for point, second in zip(points, seconds, strict=True)
    ]
