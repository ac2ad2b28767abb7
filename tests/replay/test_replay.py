# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whole replays of real programs: exact, accounted for to the byte, and different under other settings."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.replay.conftest import ROOT, Recorder

from memtwin.errors import UserError
from memtwin.recording import record
from memtwin.replay.replay import replay
from memtwin.replay.result import Ledger, ProcessResult
from memtwin.replay.twin import Options
from memtwin.trace.reader import Columns, ProcessImage, Trace
from memtwin.trace.schema import Op
from memtwin.units import KIB, MIB


@pytest.fixture
def fragment(recorded: Recorder, programs: Path) -> Trace:
    return recorded(programs / "fragment")


def only(trace: Trace, options: Options = Options()) -> ProcessResult:  # noqa: B008
    return replay(trace, options).processes[0]


def test_the_example_is_exact_and_every_byte_is_accounted_for(fragment: Trace) -> None:
    result = only(fragment)
    assert result.agreement == 1.0
    assert result.exact
    assert result.first_mismatch is None
    for ledger, rss in ((result.peak, result.peak_rss_bytes), (result.final, result.final_rss_bytes)):
        assert ledger
        assert sum(ledger.lines.values()) == ledger.rss_bytes == rss
        assert abs(ledger.lines["unexplained"]) < MIB
    assert result.peak
    assert result.final
    assert result.peak.lines["live"] > 100 * MIB > MIB > result.final.lines["live"]
    assert result.final.lines["free"] > 100 * MIB
    assert result.final.pin
    assert result.final.pin.resident_bytes > 100 * MIB
    highest = max(point["rss_bytes"] for point in result.time_line)
    assert result.peak_rss_bytes == highest
    error = result.heap_error()["end"]
    assert error is not None
    assert abs(error) < 0.02


def test_what_would_have_been(fragment: Trace) -> None:
    real = replay(fragment)
    what_if = replay(fragment, Options({"mmap_threshold": 128 * KIB}), real)
    before, after = real.processes[0], what_if.processes[0]
    assert after.final_rss_bytes < before.final_rss_bytes / 4
    assert after.system_calls["munmap"] >= 600
    assert after.equal < after.compared
    assert isinstance(before.final, Ledger)
    assert isinstance(after.final, Ledger)
    assert sum(after.final.lines.values()) == after.final_rss_bytes
    same = [line for line in ("text", "files", "stacks", "other") if line in before.final.lines]
    assert {line: after.final.lines[line] for line in same} == {line: before.final.lines[line] for line in same}


# name, the value the program ran under, the default, and what runs
KNOBS = [
    ("mmap_threshold", 8192, 131072, "crowd 0"),
    ("trim_threshold", 8 << 20, 131072, "crowd 0"),
    ("top_pad", 4096, 131072, "crowd 0"),
    ("mmap_max", 0, 65536, "crowd 0"),
    ("mxfast", 32, 128, "crowd 0"),
    ("tcache_count", 1, 7, "crowd 0"),
    ("tcache_max", 256, 1032, "crowd 0"),
    ("arena_max", 1, 0, "crowd 4"),
    ("hugetlb", 2, 0, "crowd 2"),
]


@pytest.mark.parametrize(("name", "value", "default", "work"), KNOBS)
def test_a_knob_is_heeded(name: str, value: int, default: int, work: str, recorded: Recorder, programs: Path) -> None:
    """Under the knob the replay is exact; ignored, addresses differ, or for a trim what the kernel is asked."""
    command = (programs / "threads", *work.split(), "6000")
    trace = recorded(*command, GLIBC_TUNABLES=f"glibc.malloc.{name}={value}")
    heeded = only(trace)
    assert heeded.exact
    ignored = only(trace, Options({name: default}))
    if name == "trim_threshold":
        assert ignored.system_calls["brk"] > heeded.system_calls["brk"]
    else:
        assert ignored.equal < ignored.compared


def test_a_lost_event_is_told_and_the_replay_goes_on(fragment: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = only(fragment)
    drop_an_event(fragment.processes[0], 5_000, monkeypatch)
    result = only(fragment)
    assert not result.exact
    assert result.lost == 1
    assert 0 < result.equal < result.compared
    assert not result.abort
    assert whole.final
    assert result.final
    assert abs(result.final.live_requested_bytes - whole.final.live_requested_bytes) < 4 * KIB
    assert sum(result.final.lines.values()) == result.final_rss_bytes


def drop_an_event(image: ProcessImage, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the first malloc from row `after` on a lost event."""
    batches = ProcessImage.batches

    def damaged(self: ProcessImage, *arguments: Any) -> Iterator[Columns]:
        for columns in batches(self, *arguments):
            op, argument = columns.op.copy(), columns.argument.copy()
            if columns.start == 0:
                row = after + int(np.argmax(op[after:] == Op.MALLOC))
                op[row], argument[row] = Op.LOST, 1
            yield dataclasses.replace(columns, op=op, argument=argument)

    monkeypatch.setattr(ProcessImage, "batches", damaged)
    monkeypatch.setitem(image.__dict__, "header", dataclasses.replace(image.header, lost=1))


def test_a_difference_is_described(fragment: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    header = fragment.processes[0].header
    wrong = dataclasses.replace(header, environment={"GLIBC_TUNABLES": "glibc.malloc.tcache_count=2"})
    monkeypatch.setitem(fragment.processes[0].__dict__, "header", wrong)
    found = only(fragment).first_mismatch
    assert found
    assert found.recorded != found.twin
    assert f"{found.event} thread" in found.operation
    assert len(found.last_events) == 10
    assert any(line.startswith("arena") for line in found.state)
    assert any(line.startswith("tcache") for line in found.state)


def test_an_unknown_release_is_refused_or_the_nearest_is_taken(
    fragment: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = fragment.processes[0].header
    monkeypatch.setitem(fragment.processes[0].__dict__, "header", dataclasses.replace(header, glibc="2.99"))
    with pytest.raises(UserError, match=r"the nearest is 2\.43\): --glibc nearest takes the nearest"):
        only(fragment)
    taken = only(fragment, Options(nearest=True))
    assert taken.glibc == "2.43" and 0 < taken.equal < taken.compared  # recorded on another
    assert only(fragment, Options({"mmap_threshold": 64 * KIB}, nearest=True)).glibc == "2.43"


def test_the_limit_of_arenas_on_one_processor(recorded: Recorder, programs: Path) -> None:
    """More threads than eight for the one processor that they may use: most releases count all that there are."""
    if shutil.which("taskset") is None or (os.cpu_count() or 1) < 2:
        pytest.skip("needs taskset (apt install util-linux) and two processors")
    trace = recorded("taskset", "-c", str(min(os.sched_getaffinity(0))), programs / "threads", "crowd", "20", "2000")
    image = trace.processes[-1]
    assert (image.header.cpus, image.header.cpus_online) == (1, os.cpu_count())
    result = replay(trace).processes[-1]
    assert result.exact and result.agreement == 1.0


def test_a_program_that_has_the_address_of_malloc(tmp_path: Path, recorded: Recorder) -> None:
    """Without position-independent code it has a malloc symbol of its own, which is libc's all the same."""
    source = (
        "#include <stdlib.h>\nstatic void *(*volatile take)(size_t) = malloc;\nint main(void) { free(take(100)); }\n"
    )
    program = tmp_path / "address"
    subprocess.run(["cc", "-no-pie", "-fno-pic", "-xc", "-", "-o", str(program)], input=source, text=True, check=True)
    result = only(recorded(program))
    assert result.compared == 1
    assert result.exact


HEAPS = r"""
#include <pthread.h>
#include <stdlib.h>
#define COUNT 60000
static void *work(void *unused)
{
    static char *blocks[COUNT];
    for (int i = 0; i < COUNT; i++)
        *(blocks[i] = malloc(2000 + i % 700)) = 1;
    for (int i = 0; i < COUNT; i += 2)
        free(blocks[i]);
    for (int i = 0; i < COUNT; i += 2)
        blocks[i] = malloc(1500 + i % 900);
    for (int i = COUNT; i-- > 0;)
        free(blocks[i]);
    return unused;
}
int main(void)
{
    pthread_t id;
    for (int i = 0; i < 2; i++) {
        pthread_create(&id, NULL, work, NULL);
        pthread_join(id, NULL);
    }
}
"""


def test_an_arena_of_several_heaps(tmp_path: Path, recorded: Recorder) -> None:
    """A thread has more than the 64 MiB of a heap; another finds what is left of its arena."""
    program = tmp_path / "heaps"
    command = ["cc", "-O1", "-fno-builtin", "-pthread", "-xc", "-", "-o", str(program)]
    subprocess.run(command, input=HEAPS, text=True, check=True)
    result = only(recorded(program))
    assert result.peak_rss_bytes > 128 * MIB
    assert result.exact
    assert result.agreement == 1.0


def test_uncompiled_it_finds_the_same(recorded: Recorder, programs: Path) -> None:
    trace = recorded(programs / "threads", "fork", "2", "100")
    compiled = [one.to_json() for one in replay(trace).processes]
    code = (
        "import json, sys; from memtwin.trace.reader import open_trace; from memtwin.replay.replay import replay;"
        "print(json.dumps([one.to_json() for one in replay(open_trace(sys.argv[1])).processes]))"
    )
    run = [sys.executable, "-c", code, str(trace.directory)]
    done = subprocess.run(run, check=True, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT / "src")})
    plain = json.loads(done.stdout)
    for one in (*compiled, *plain):
        del one["seconds"], one["events_per_second"]
    assert plain == json.loads(json.dumps(compiled))
    assert all(one["exact"] for one in plain)


def test_the_end_is_no_higher_than_the_peak(recorded: Recorder, programs: Path) -> None:
    for program in (["sh", "-c", ":"], ["true"], [str(programs / "everything")]):
        for one in replay(recorded(*program), Options()).processes:
            assert one.peak_rss_bytes >= one.final_rss_bytes
            assert one.peak_rss_bytes >= max(point["rss_bytes"] for point in one.time_line)


@pytest.mark.parametrize("words", [(), ("fork",)])
def test_the_first_thread_may_end_before_the_others(recorded: Recorder, programs: Path, words: tuple[str, ...]) -> None:
    processes = replay(recorded(programs / "mainless", *words), Options()).processes
    assert [(one.equal, one.first_mismatch) for one in processes] == [(one.compared, None) for one in processes]
    assert len(processes) == 1 + len(words)


def test_a_long_line_of_forks_is_replayed_in_pieces(recorded: Recorder, tmp_path: Path) -> None:
    source = """
    #include <stdlib.h>
    #include <sys/wait.h>
    #include <unistd.h>
    int main(void) {
        void *block = malloc(100);
        for (int i = 0; i < 70; i++) {
            if (fork()) { wait(NULL); _exit(0); }
            free(block);
            block = malloc(50 + i);
        }
        return 0;
    }"""
    subprocess.run(["cc", "-x", "c", "-o", tmp_path / "line", "-"], input=source, text=True, check=True)
    processes = replay(recorded(tmp_path / "line"), Options()).processes
    anew = [one for one in processes if any("begun anew" in note for note in one.notes)]
    assert (len(processes), len(anew), anew[0].unknown) == (71, 1, 1)
    assert not any(one.abort for one in processes)
    assert all(one.first_mismatch is None for one in processes[: processes.index(anew[0])])


def test_a_program_that_glibc_aborts_is_exact_to_its_end(tmp_path: Path) -> None:
    source = "#include <stdlib.h>\nint main(void) { void *p = malloc(100), *q = malloc(3000); malloc(9); free(p); free(q); free(q); return 0; }"
    subprocess.run(["cc", "-w", "-x", "c", "-o", tmp_path / "twice", "-"], input=source, text=True, check=True)
    done = record([str(tmp_path / "twice")], tmp_path / "trace")
    assert done.status == 128 + 6 and done.trace
    (result,) = replay(done.trace, Options()).processes
    assert result.exact and result.abort == "double free or corruption (!prev)" and not result.notes
    assert max(point["live_bytes"] for point in result.time_line) == 3109
