# SPDX-License-Identifier: LGPL-2.1-or-later
"""ImageReplay: one process image through its twin, from the first event to the last or to an earlier one.

Player plays the allocator's calls. What stops it is handled here: the program's own mappings, threads, forks, and the
places between events where something was measured or a child begins.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from memtwin.errors import Killed, TraceError
from memtwin.replay.mismatch import describe
from memtwin.replay.result import Comparison, Mismatch
from memtwin.replay.surroundings import RECORDER_WINDOW, Moment, Surroundings, imprecision, measure, settle
from memtwin.replay.twin import Twin
from memtwin.trace.schema import Op

if TYPE_CHECKING:
    from memtwin.trace.reader import Columns, MapsSnapshot, ProcessImage

FAILED = 2**64 - 1
PROGRAM_CALLS = {
    Op.MMAP: "mmap",
    Op.MUNMAP: "munmap",
    Op.MREMAP: "mremap",
    Op.MADVISE: "madvise",
    Op.MPROTECT: "mprotect",
    Op.BRK: "brk",
    Op.SBRK: "brk",
}
Due = tuple[int, int, Callable[[], None]]  # event before which it is done, order among equals, what


class Sample(NamedTuple):
    """One row of the samples that a replay looks at."""

    event: int
    time_ns: int
    rss_bytes: int | None
    heap_resident_bytes: int | None
    arena_resident_bytes: int | None
    mmapped_resident_bytes: int | None


def samples_of(image: ProcessImage) -> list[Sample]:
    """The samples of an image, in the order of their events."""
    table = image.samples().select(list(Sample._fields))
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    return sorted((Sample(*row) for row in rows), key=lambda one: one.event)


class ImageReplay:
    """Replays `image` on `twin`, which is as the image was at its first event.

    found: the surroundings to fill (`real` replays, which measure) or to follow. forks: by number of an event, what is
    to be done right after it, because children begin there. until: the last event to play, None for all.
    """

    def __init__(
        self,
        image: ProcessImage,
        twin: Twin,
        found: Surroundings,
        *,
        real: bool,
        samples: list[Sample],
        forks: dict[int, Callable[[], None]] | None = None,
        until: int | None = None,
    ) -> None:
        self.image = image
        self.twin = twin
        self.found = found
        self.real = real
        self.until = image.events if until is None else until + 1
        self.played = 0
        self.lost = 0
        self.abort = ""
        self.stopped_at = 0
        self.mismatch: Mismatch | None = None
        self.comparisons: list[Comparison] = []
        self.program_calls: Counter[str] = Counter()
        self._snapshots: Iterator[MapsSnapshot] = image.snapshots()
        twin.player.know_blocks(image.blocks())
        self._due: list[Due] = list(self._plan(samples, forks or {}))
        heapq.heapify(self._due)
        self._slack = imprecision(image.header.cpus, image.header.page_size) + RECORDER_WINDOW

    def _plan(self, samples: list[Sample], forks: dict[int, Callable[[], None]]) -> Iterator[Due]:
        """What is to be done between events."""
        order = 0
        for event, begin in forks.items():
            yield event + 1, order, begin
            order += 1
        if self.real:
            for sample in samples:
                yield sample.event, (order := order + 1), lambda sample=sample: self._sample(sample)  # type: ignore[misc]
        else:
            for moment in self.found.moments:
                yield moment.event, (order := order + 1), lambda moment=moment: self._enter(moment)  # type: ignore[misc]

    def run(self, progress: Callable[[int], None] | None = None) -> None:
        """Play the events. Stops early when the allocator aborted or an access was illegal; `abort` says so."""
        for columns in self.image.batches():
            self._batch(columns)
            if progress:
                progress(len(columns))
            if self.abort or self.played >= self.until:
                break
        self._act(self.until)
        self._due.clear()  # what was planned refers to this replay and so to its twin, which is large

    def _batch(self, columns: Columns) -> None:
        player = self.twin.player
        player.load(columns)
        row, rows = 0, min(len(columns), self.until - columns.start)
        while row < rows and not self.abort:
            self._act(columns.start + row)
            stop = min(rows, self._due[0][0] - columns.start) if self._due else rows
            row = player.play(row, stop)
            if player.differs and self.mismatch is None and not player.what_if:
                self.mismatch = describe(self.twin, columns, row - 1)
            elif row < stop and not self.twin.malloc.dead and not self.twin.space.stop_signal:
                self._other(columns, row)
                row += 1
            self._look_for_death(columns.start + row)
        self.played = columns.start + row

    def _act(self, event: int) -> None:
        """Do what is due before this event."""
        while self._due and self._due[0][0] <= event:
            heapq.heappop(self._due)[2]()

    def _look_for_death(self, event: int) -> None:
        malloc, space = self.twin.malloc, self.twin.space
        if malloc.dead:
            self.abort, self.stopped_at = str(malloc.abort), event - 1
        elif space.stop_signal:
            try:
                space.raise_stop()
            except Killed as death:
                self.abort, self.stopped_at = str(death), event - 1

    # what was measured

    def _enter(self, moment: Moment) -> None:
        self.twin.player.set_other(max(moment.event - 1, 0), moment.total - self.twin.library_bytes())

    def _moment(self, moment: Moment) -> None:
        self.found.moments.append(moment)
        self._enter(moment)

    def _sample(self, sample: Sample) -> None:
        """A look at the real process, compared with the twin at the same event."""
        event = sample.event
        if sample.rss_bytes is not None:
            allocator = self.twin.allocator_bytes()
            moment = settle(self.found.at(event), event, sample.rss_bytes - allocator, self._slack)
            if moment is not None:
                self._moment(moment)
        if sample.heap_resident_bytes is not None:
            self.comparisons.append(self._compare(sample))

    def _compare(self, sample: Sample) -> Comparison:
        mapped = (sample.arena_resident_bytes or 0) + (sample.mmapped_resident_bytes or 0)
        whole = self.image.origin != "fork"  # the recorder does not know what a fork child has of its parent
        return Comparison(
            event=sample.event,
            seconds=sample.time_ns / 1e9,
            rss_bytes=sample.rss_bytes,
            heap_bytes=sample.heap_resident_bytes,
            heap_twin_bytes=self.twin.heap_bytes(),
            mapped_bytes=mapped if whole else None,
            mapped_twin_bytes=self.twin.allocator_bytes() - self.twin.heap_bytes(),
        )

    # events that are no allocator calls

    def _other(self, columns: Columns, row: int) -> None:
        op = int(columns.op[row])
        name = PROGRAM_CALLS.get(op)  # type: ignore[call-overload]
        if name:
            self.program_calls[name] += 1
        handler = _HANDLERS.get(op)
        if handler is None:
            return
        before = Counter(self.twin.space.call_counts)
        handler(self, columns, row)
        if name or op == Op.MAPS:
            self.twin.hidden.update(Counter(self.twin.space.call_counts) - before)

    def _check(self, columns: Columns, row: int, address: int, length: int) -> None:
        """TraceError: no system call of this event's kind could have succeeded for these bytes."""
        space = self.twin.space
        if address % space.page_size or not 0 <= length <= space.task_size - address:
            what = f"{self.image.key}: event {columns.start + row:,}: {Op(columns.op[row]).name.lower()}"
            raise TraceError(f"{what} of {length:#x} bytes at {address:#x} cannot have succeeded")

    def _trim(self, columns: Columns, row: int) -> None:
        self.twin.malloc.malloc_trim(int(columns.size[row]))

    def _mallopt(self, columns: Columns, row: int) -> None:
        argument = int(columns.argument[row])
        self.twin.malloc.mallopt(_signed(argument >> 32), _signed(argument & 0xFFFFFFFF))

    def _mmap(self, columns: Columns, row: int) -> None:
        address, argument = int(columns.result[row]), int(columns.argument[row])
        if address != FAILED:
            self._check(columns, row, address, int(columns.size[row]))
            self.twin.mappings.mmap(address, int(columns.size[row]), argument >> 32, argument & 0xFFFFFFFF)

    def _munmap(self, columns: Columns, row: int) -> None:
        if columns.result[row] == 0:
            self._check(columns, row, int(columns.pointer[row]), int(columns.size[row]))
            self.twin.mappings.munmap(int(columns.pointer[row]), int(columns.size[row]))

    def _mremap(self, columns: Columns, row: int) -> None:
        new = int(columns.result[row])
        if new != FAILED:
            old, old_length = int(columns.pointer[row]), int(columns.argument[row])
            self._check(columns, row, old, old_length)
            self._check(columns, row, new, int(columns.size[row]))
            self.twin.mappings.mremap(old, old_length, new, int(columns.size[row]), int(columns.extra[row]))

    def _madvise(self, columns: Columns, row: int) -> None:
        if columns.result[row] == 0 and columns.size[row]:
            self._check(columns, row, int(columns.pointer[row]), int(columns.size[row]))
            advice = int(columns.argument[row])
            self.twin.mappings.madvise(int(columns.pointer[row]), int(columns.size[row]), advice)

    def _brk(self, columns: Columns, row: int) -> None:
        if columns.result[row] == 0:
            self._check(columns, row, 0, int(columns.pointer[row]))
            self.twin.move_break(int(columns.pointer[row]) - self.twin.space.brk_end)

    def _sbrk(self, columns: Columns, row: int) -> None:
        increment, old = int(columns.size[row]), int(columns.result[row])
        if old != FAILED:
            increment -= 2**64 if increment >> 63 else 0
            self._check(columns, row, 0, old)
            self._check(columns, row, 0, old + increment)
            self.twin.move_break(increment, old)

    def _thread_create(self, columns: Columns, row: int) -> None:
        self.twin.malloc.single = False

    def _thread_start(self, columns: Columns, row: int) -> None:
        self.twin.malloc.thread_start(int(columns.thread[row]))

    def _thread_exit(self, columns: Columns, row: int) -> None:
        self.twin.thread_exit(int(columns.thread[row]))

    def _maps(self, columns: Columns, row: int) -> None:
        snapshot = next(self._snapshots, None)
        event = columns.start + row
        while snapshot is not None and snapshot.event < event:
            snapshot = next(self._snapshots, None)
        if snapshot is None or snapshot.event != event:
            return
        self.twin.mappings.snapshot(snapshot)
        if self.real and any(vma.rss_bytes is not None for vma in snapshot.vmas):
            self._moment(measure(snapshot, self.twin))

    def _lost(self, columns: Columns, row: int) -> None:
        self.lost += int(columns.argument[row])


def _signed(value: int) -> int:
    """A 32-bit number as C's int."""
    return value - 2**32 if value >> 31 else value


_HANDLERS: dict[int, Callable[[ImageReplay, Columns, int], None]] = {
    Op.MALLOC_TRIM: ImageReplay._trim,
    Op.MALLOPT: ImageReplay._mallopt,
    Op.MMAP: ImageReplay._mmap,
    Op.MUNMAP: ImageReplay._munmap,
    Op.MREMAP: ImageReplay._mremap,
    Op.MADVISE: ImageReplay._madvise,
    Op.BRK: ImageReplay._brk,
    Op.SBRK: ImageReplay._sbrk,
    Op.THREAD_CREATE: ImageReplay._thread_create,
    Op.THREAD_START: ImageReplay._thread_start,
    Op.THREAD_EXIT: ImageReplay._thread_exit,
    Op.MAPS: ImageReplay._maps,
    Op.LOST: ImageReplay._lost,
}
