# SPDX-License-Identifier: LGPL-2.1-or-later
"""Raw files of several images into one trace."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.trace.rawfile import RawFileWriter, varint, zigzag

from memtwin.errors import TraceError, UserError
from memtwin.trace import convert
from memtwin.trace.convert import import_raw
from memtwin.trace.reader import open_trace
from memtwin.trace.schema import Op
from memtwin.trace.writer import prepare_directory

LINE = b"1000-2000 rw-p 00000000 00:00 0 \n"


def frees(raw: RawFileWriter, count: int) -> None:
    for _ in range(count):
        raw.streams[-1].event(Op.FREE, ("P", 16))


def shell_and_child(directory: Path) -> list[Path]:
    """A process that forks; the child execs. The parent lost two events before its fork."""
    directory.mkdir(exist_ok=True)
    parent = RawFileWriter(7, start_ns=1)
    s = parent.stream(7)
    frees(parent, 3)
    parent.number += 2
    s.event(Op.FORK)
    s.side(52, zigzag(9))
    fork = parent.number
    s.side(51, varint(len(LINE)), LINE)
    s.event(Op.MAPS, 2 * 10**9, 0, 0, 0)
    s.side(53, varint(1), varint(3 * 10**9), varint(1), varint(8192))
    frees(parent, 1)
    s.event(Op.END, 10**9)
    child = RawFileWriter(9, start_ns=2, parent_pid=7, parent_start_ns=1, parent_sequence=fork, process_start=6)
    child.stream(9).event(Op.MALLOC, 100, ("P", 0x1000))
    child.streams[0].event(Op.EXEC)
    program = RawFileWriter(9, start_ns=3, parent_pid=7, process_start=6, status=1, error=28, stopped_at=2)
    program.stream(9)
    frees(program, 2)
    return [raw.save(directory / f"{i}.raw") for i, raw in enumerate((parent, child, program))]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    prepare_directory(tmp_path / "trace")
    return tmp_path / "trace"


def test_a_family_becomes_a_tree(tmp_path: Path, target: Path) -> None:
    told: list[tuple[int, int]] = []
    done = import_raw(shell_and_child(tmp_path / "raw"), target, ["sh"], lambda *args: told.append(args))
    assert done.complete and not done.problems
    trace = open_trace(target)
    shell, child, program = trace.processes
    assert [(one.key, one.origin, one.parent_event) for one in trace.processes] == [
        ("7", "start", 0), ("9", "fork", 4), ("9.1", "exec", 1)]  # fmt: skip
    fork = next(shell.batches(child.parent_event))
    assert (fork.op[0], fork.argument[0]) == (Op.FORK, 9)
    header = shell.header
    assert (header.ending, header.lost, header.events, header.threads) == ("exit", 2, 8, 1)
    assert header.operations == {"FREE": 4, "LOST": 1, "FORK": 1, "MAPS": 1, "END": 1}
    assert (header.duration_ns, header.peak_rss_bytes) == (3 * 10**9, 8192)
    assert header.command == ("true", "-x") and header.glibc == "2.36" and header.cpus == 2
    assert header.cpus_online == 5
    assert child.header.ending == "exec" and child.header.allocated_bytes == 100
    assert program.header.ending == "recording stopped: the disk was full (ENOSPC)"
    assert [one.event for one in shell.snapshots()] == [5]
    assert shell.samples().column("event").to_pylist() == [6]
    assert told[-1][0] <= told[-1][1] and [one[0] for one in told] == sorted(one[0] for one in told)


@pytest.mark.parametrize(
    ("machine", "process", "word"),
    [
        ("always [madvise] never", "0", "madvise"),
        ("[always] madvise never", "0", "always"),
        ("[always] madvise never", "1", "never"),
        ("[always] madvise never", "3", "madvise"),  # PR_THP_DISABLE_EXCEPT_ADVISED
        ("always madvise [never]", "3", "never"),
        ("", "18446744073709551594", ""),  # -EINVAL
    ],
)
def test_the_process_may_have_fewer_huge_pages_than_the_machine(
    tmp_path: Path, target: Path, machine: str, process: str, word: str
) -> None:
    raw = RawFileWriter()
    raw.texts |= {"thp_enabled": machine, "thp_disabled": process, "free_2m": "24"}
    import_raw([raw.save(tmp_path / "1.raw")], target, ["true"])
    header = open_trace(target).processes[0].header
    assert header.huge_pages == word
    assert header.free_huge_pages == {"2097152": 24}


def test_one_damaged_file_does_not_spoil_the_others(tmp_path: Path, target: Path) -> None:
    files = shell_and_child(tmp_path / "raw")
    files[1].write_bytes(b"\0" * 70000)
    files[2].write_bytes(b"hello")
    done = import_raw(files, target, ["sh"])
    assert [image.key for image in open_trace(target).processes] == ["7"]
    assert [problem.startswith(str(path)) for problem, path in zip(done.problems, files[1:], strict=True)] == [True] * 2
    assert "never finished" in done.problems[0]
    with pytest.raises(TraceError, match="never finished"):
        import_raw(files[1:], target, ["sh"])


@pytest.mark.parametrize("stop_at", [1, 2, 3])
def test_an_interrupt_leaves_what_was_decoded(tmp_path: Path, target: Path, stop_at: int) -> None:
    raw = RawFileWriter(7, start_ns=1)
    raw.stream(7)
    frees(raw, 200_000)
    files = [raw.save(tmp_path / "0.raw"), *shell_and_child(tmp_path / "raw")[1:]]
    calls = 0

    def interrupt(done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        if calls == stop_at:
            raise KeyboardInterrupt

    done = import_raw(files, target, ["sh"], interrupt)
    trace = open_trace(target)
    assert not done.complete and not trace.complete
    assert trace.processes[0].events == (131_072 if stop_at == 1 else 200_000)
    assert trace.processes[-1].header.ending == "the import was interrupted"
    for image in trace.processes:
        assert sum(map(len, image.batches())) == image.events
    assert not list(target.glob("*.part"))


def test_a_process_that_still_runs_is_told_from_a_killed_one(tmp_path: Path, target: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        born = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19])
        raw = RawFileWriter(process.pid, process_start=born)
        raw.stream(1)
        frees(raw, 1)
        files = [raw.save(tmp_path / "0.raw")]
        assert import_raw(files, target, []).headers[0].ending == "still running"
        process.kill()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{process.pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert import_raw(files, target, []).headers[0].ending == "killed"


def test_notes_are_sentences(tmp_path: Path, target: Path) -> None:
    raw = RawFileWriter(7)
    s = raw.stream(7)
    s.side(54, varint(1), varint(33))
    frees(raw, 1)
    s.side(63)
    (header,) = import_raw([raw.save(tmp_path / "0.raw")], target, []).headers
    assert len(header.notes) == 2 and "33 more were wanted" in header.notes[0] and "damaged" in header.notes[1]


def test_a_directory_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    with pytest.raises(UserError, match="precious"):
        prepare_directory(tmp_path)
    with pytest.raises(UserError, match="precious"):
        prepare_directory(tmp_path / "precious")
    assert (tmp_path / "precious").read_text() == "x"


def test_a_trace_is_replaced_by_the_next(tmp_path: Path, target: Path) -> None:
    import_raw(shell_and_child(tmp_path / "raw"), target, ["sh"])
    prepare_directory(target)
    assert list(target.iterdir()) == []
    (target / "7.events.parquet").write_text("not ours: there is no trace.json beside it")
    with pytest.raises(UserError, match="neither empty nor a trace"):
        prepare_directory(target)


def test_every_figure_of_a_sample_has_its_column() -> None:
    assert [name for name in convert.SAMPLES.names if name not in ("event", "time_ns")] == list(convert._FIGURES)
