# SPDX-License-Identifier: LGPL-2.1-or-later
"""The recorder's raw files into a trace: `import_raw`. Streams: what is in memory is one batch of one image."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from memtwin.errors import TraceError
from memtwin.trace.decode import Decoder, row_of
from memtwin.trace.family import Member, relate
from memtwin.trace.header import Header
from memtwin.trace.mapstext import MapsTable
from memtwin.trace.raw import OTHER_MALLOC, STATUS_WORDS, RawFile, RawHeader
from memtwin.trace.schema import BLOCKS, SAMPLES, Op
from memtwin.trace.stream import Sample
from memtwin.trace.writer import ImageWriter, write_process_tree

Progress = Callable[[int, int], None]  # bytes of the raw files done so far, and all there are

# Bits of a sample's mask (enum raw_sample) in their order.
_FIGURES = ("rss_bytes", "heap_bytes", "heap_resident_bytes", "arena_resident_bytes", "mmapped_resident_bytes",
            "anonymous_bytes", "total_vm_bytes", "cost_ns")  # fmt: skip

_SAMPLES_AT_ONCE = 4096
_EXCEPT_ADVISED = 2  # PR_THP_DISABLE_EXCEPT_ADVISED, linux/prctl.h
_POOLS = {2 << 20: "free_2m", 1 << 30: "free_1g"}

_NOTES = {
    1: "snapshots of the mappings were rationed: {} more were wanted",
    2: "the recorder's lock was held too long and was broken: the order of threads is not certain after that",
    3: "the program installed a seccomp filter: no samples and no snapshots of the mappings after that",
}


@dataclass
class Imported:
    """What an import brought."""

    headers: list[Header] = field(default_factory=list)
    complete: bool = True  # False when it was interrupted
    problems: list[str] = field(default_factory=list)  # raw files that could not be read, a line each


def import_raw(
    files: Sequence[Path], directory: Path, command: Sequence[str], progress: Progress | None = None
) -> Imported:
    """Turn raw files into the trace `directory`, which exists. The raw files stay as they are.

    Ctrl-C ends the import early; what has been decoded by then is a readable trace marked as not complete.
    TraceError when there are raw files and none can be read.
    """
    done = Imported()
    paths: dict[tuple[int, int], Path] = {}
    members = relate(_read_headers(files, paths, done.problems))
    if files and not members:
        raise TraceError(done.problems[0])
    total = sum(member.header.used for member in members)
    before = 0
    marks: dict[str, _Marks] = {}
    try:
        for member in members:
            report = _Report(progress, before, total)
            done.headers.append(_import_image(paths[_name(member)], directory, member, marks, report))
            before += member.header.used
    except _InterruptedImport as interrupted:
        done.complete = False
        done.headers.append(interrupted.header)
    except KeyboardInterrupt:
        done.complete = False
    write_process_tree(directory, command, done.headers, done.complete)
    return done


class _InterruptedImport(Exception):
    """Ctrl-C came while this image was being decoded; the header tells of what was."""

    def __init__(self, header: Header) -> None:
        super().__init__()
        self.header = header


@dataclass(frozen=True)
class _Report:
    """Tells a progress callback how far one image's import is."""

    progress: Progress | None
    before: int
    total: int

    def __call__(self, done: int) -> None:
        if self.progress:
            self.progress(min(self.before + done, self.total), self.total)


@dataclass(frozen=True)
class _Marks:
    """Where an image's children may begin."""

    forks: list[tuple[int, int]]
    gaps: list[tuple[int, int]]
    events: int

    def event_of(self, child: Member) -> int:
        """The row of the FORK or EXEC event that made this child; 0 when it is not known."""
        if child.origin == "exec":
            return max(self.events - 1, 0)
        for row, pid in self.forks:
            if pid == child.header.pid:
                return row
        return row_of(self.gaps, child.header.parent_sequence) if child.origin == "fork" else 0


def _name(member: Member) -> tuple[int, int]:
    return member.header.pid, member.header.start_ns


def _read_headers(files: Sequence[Path], paths: dict[tuple[int, int], Path], problems: list[str]) -> list[RawHeader]:
    headers = []
    for path in files:
        try:
            raw = RawFile(path)
        except TraceError as error:
            problems.append(str(error))
            continue
        if raw.name not in paths:
            paths[raw.name] = path
            headers.append(raw.header)
    return headers


def _import_image(path: Path, directory: Path, member: Member, marks: dict[str, _Marks], report: _Report) -> Header:
    raw = RawFile(path)
    writer = ImageWriter(directory, member.key)
    work = _ImageImport(raw, writer)
    interrupted = False
    try:
        work.run(report)
    except KeyboardInterrupt:
        interrupted = True
    except BaseException:
        writer.discard()
        raise
    header = _header(raw, member, work, marks, interrupted)
    writer.close(header)
    if member.children:
        marks[member.key] = _Marks(work.decoder.forks, work.decoder.gaps, writer.events)
    if interrupted:
        raise _InterruptedImport(header)
    return header


class _ImageImport:
    """Moves one image's batches from its decoder to its writer."""

    def __init__(self, raw: RawFile, writer: ImageWriter) -> None:
        self.raw = raw
        self.writer = writer
        self.decoder = raw.decoder()
        self.maps = MapsTable()
        self.peak_rss_bytes = 0
        self.last_op = 0
        self.last_result = 0
        self.last_time_ns = 0

    def run(self, report: _Report) -> None:
        while self.decoder.fill():
            batch = self.decoder.batch()
            self.writer.write_events(batch)
            self.last_op = batch.column(0)[-1].as_py()
            self.last_result = batch.column(8)[-1].as_py()
            self._write_maps()
            self._write_samples(final=False)
            self.raw.forget_pages()
            report(self.decoder.found.bytes)
        self._write_samples(final=True)
        if self.decoder.found.blocks:
            self.writer.write_blocks(_block_rows(self.decoder))

    def _write_maps(self) -> None:
        if self.decoder.snapshots:
            table = pa.Table.from_batches([self.maps.batch(snapshot) for snapshot in self.decoder.snapshots])
            for batch in table.combine_chunks().to_batches():
                self.writer.write_maps(batch)

    def _write_samples(self, final: bool) -> None:
        """Write the samples whose event has a row by now, or all; the others wait. Not before there are enough."""
        found, limit = self.decoder.found, self.decoder.expected
        if len(found.samples) < _SAMPLES_AT_ONCE and not final:
            return
        ready = sorted(sample for sample in found.samples if final or sample.number <= limit)
        if ready:
            found.samples = [] if final else [sample for sample in found.samples if sample.number > limit]
            self.writer.write_samples(_sample_rows(ready, self.decoder))
            self.last_time_ns = max(self.last_time_ns, *(sample.time_ns for sample in ready), 0)
            self.peak_rss_bytes = max(self.peak_rss_bytes, *(s.figures[0] for s in ready if s.mask & 1), 0)


def _sample_rows(samples: list[Sample], decoder: Decoder) -> pa.RecordBatch:
    columns: dict[str, list[int | None]] = {field.name: [] for field in SAMPLES}
    for sample in samples:
        columns["event"].append(row_of(decoder.gaps, sample.number))
        columns["time_ns"].append(sample.time_ns)
        figures = iter(sample.figures)
        for bit, name in enumerate(_FIGURES):
            columns[name].append(next(figures) if sample.mask >> bit & 1 else None)
    return pa.record_batch([pa.array(columns[field.name], field.type) for field in SAMPLES], schema=SAMPLES)


def _block_rows(decoder: Decoder) -> pa.RecordBatch:
    rows = {row_of(decoder.gaps, number): resident for number, resident in sorted(decoder.found.blocks.items())}
    columns = [pa.array(one, pa.uint64()) for one in (rows.keys(), rows.values())]
    return pa.record_batch(columns, schema=BLOCKS)


def _header(raw: RawFile, member: Member, work: _ImageImport, marks: dict[str, _Marks], interrupted: bool) -> Header:
    """The header facts of an image from its raw header and from what its decoder counted."""
    facts, texts, decoder = raw.header, raw.texts(), work.decoder
    parent = marks.get(member.parent.key) if member.parent else None
    return Header(
        key=member.key,
        pid=facts.pid,
        parent_pid=facts.parent_pid,
        origin=member.origin,
        parent=member.parent.key if member.parent else None,
        parent_event=parent.event_of(member) if parent else 0,
        executable=texts.get("executable", ""),
        command=tuple(texts.get("command_line", "").rstrip("\0").split("\0")),
        working_directory=texts.get("directory", ""),
        environment={n: v for n, v in texts.items() if n == "GLIBC_TUNABLES" or n.startswith("MALLOC_")},
        architecture=texts.get("machine", ""),
        kernel=texts.get("kernel", ""),
        page_size=facts.page_size or 4096,
        cpus=_number(texts, "cpus_allowed", 1),
        cpus_online=_listed(texts.get("cpus_online", "")),
        huge_pages=_huge_pages(texts),
        free_huge_pages={str(size): _number(texts, name, 0) for size, name in _POOLS.items() if name in texts},
        personality=_number(texts, "personality", 0),
        overcommit=_number(texts, "overcommit", 0),
        max_map_count=_number(texts, "max_map_count", 0),
        glibc=texts.get("libc_release", ""),
        libc_path=texts.get("libc_path", ""),
        libc_build_id=texts.get("libc_build_id", ""),
        allocator=Path(texts.get("malloc_path", "")).name if facts.status == OTHER_MALLOC else "glibc",
        start_brk=facts.start_brk,
        first_break=facts.brk,
        mode="exact" if facts.exact else "fast",
        started_ns=facts.start_realtime_ns,
        ending="the import was interrupted" if interrupted else _ending(raw, work),
        events=work.writer.events,
        lost=min(facts.lost + decoder.lost, 2**64 - 1),
        operations=decoder.operations(),
        threads=len(decoder.found.threads),
        allocated_bytes=decoder.allocated_bytes,
        duration_ns=max(decoder.last_time, work.last_time_ns),
        peak_rss_bytes=work.peak_rss_bytes,
        notes=tuple(_notes(work, _became_unrecorded(member, work))),
    )


def _listed(text: str) -> int:
    """How many numbers a list such as "0-3,5" has; 0 for what is no such list."""
    ranges = [part.split("-") for part in text.strip().split(",")]
    if not all(len(ends) in (1, 2) and all(end.isdecimal() and len(end) < 8 for end in ends) for ends in ranges):
        return 0
    return max(sum(int(ends[-1]) - int(ends[0]) + 1 for ends in ranges), 0)


def _ending(raw: RawFile, work: _ImageImport) -> str:
    """Why the recording of an image ends."""
    facts = raw.header
    if facts.status:
        words = STATUS_WORDS.get(facts.status, f"status {facts.status}")
        reason = f" ({errno.errorcode.get(facts.error, facts.error)})" if facts.error else ""
        return f"recording stopped: {words}{reason}"
    if _ends_by_exec(work):
        return "exec"
    if "END" in work.decoder.operations():
        return "exit"
    return "still running" if _runs(facts.pid, facts.process_start) else "killed"


def _ends_by_exec(work: _ImageImport) -> bool:
    return bool(work.last_op == Op.EXEC and work.last_result == 0)


def _became_unrecorded(member: Member, work: _ImageImport) -> bool:
    """Whether the image went on as a program of which there is no recording."""
    return _ends_by_exec(work) and not any(child.origin == "exec" for child in member.children)


def _runs(pid: int, process_start: int) -> bool:
    """Whether the process that started at this tick (/proc/PID/stat, field 22) is there and no zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return int(fields[19]) == process_start and fields[0] not in "ZX"
    except (OSError, ValueError, IndexError):
        return False


def _notes(work: _ImageImport, became_unrecorded: bool) -> list[str]:
    decoder = work.decoder
    notes = [_NOTES[kind].format(value) for kind, value in sorted(decoder.found.notes.items()) if kind in _NOTES]
    if became_unrecorded:
        notes.append(
            "it became, by exec, a program that left no recording: static, setuid, sanitized, not glibc, or no room"
        )
    if decoder.disorder:
        notes.append(f"{decoder.disorder} events stand behind events with a higher number")
    if decoder.found.damaged_chunks:
        notes.append(f"{decoder.found.damaged_chunks} chunks of the raw file were damaged and given up in part")
    if work.maps.bad_lines:
        notes.append(f"{work.maps.bad_lines} lines of snapshots were not as /proc/PID/maps has them")
    return notes


def _number(texts: dict[str, str], name: str, default: int) -> int:
    text = texts.get(name, "")
    return int(text, 0) if re.fullmatch(r"0x[0-9a-f]{1,8}|[1-9][0-9]{0,8}|0", text) else default


def _huge_pages(texts: dict[str, str]) -> str:
    """The word in brackets of "always [madvise] never", and what prctl(PR_SET_THP_DISABLE) leaves of it.

    Its flag PR_THP_DISABLE_EXCEPT_ADVISED leaves those that are asked for; Linux 6.18, "prctl: extend
    PR_SET_THP_DISABLE to optionally exclude VM_HUGEPAGE".
    """
    match = re.search(r"\[(never|madvise|always)\]", texts.get("thp_enabled", ""))
    word = match[1] if match else ""
    disabled = _number(texts, "thp_disabled", 0)
    if disabled & 1 and not disabled & _EXCEPT_ADVISED:
        return "never"
    return "madvise" if disabled & 1 and word == "always" else word
