# SPDX-License-Identifier: LGPL-2.1-or-later
"""A heap of transparent huge pages: as much of it resident on the twin as the recorder measured."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.replay.conftest import Recorder
from tests.verify.huge_pool import huge_pool, on_request

from memtwin.replay.replay import replay
from memtwin.replay.result import ProcessResult
from memtwin.replay.twin import pool_for, profile_for
from memtwin.trace.header import Header
from memtwin.trace.reader import Trace

# a program that runs another without transparent huge pages: PR_SET_THP_DISABLE, linux/prctl.h
WITHOUT = "import ctypes, os, sys; ctypes.CDLL(None).prctl(41, 1, 0, 0, 0); os.execv(sys.argv[1], sys.argv[1:])"
ENABLED = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def chosen() -> str:
    """never, madvise or always; never also where the kernel has none."""
    return ENABLED.read_text().split("[")[1].split("]")[0] if ENABLED.exists() else "never"


@pytest.fixture
def always() -> Iterator[None]:
    if not os.environ.get("MEMTWIN_MACHINE_WIDE") or os.geteuid() or not ENABLED.exists():
        pytest.skip(f"needs root, MEMTWIN_MACHINE_WIDE=1 (it changes {ENABLED} of this machine while it runs)")
    before = chosen()
    ENABLED.write_text("always")
    yield
    ENABLED.write_text(before)


def equal_heap(trace: Trace) -> ProcessResult:
    """The replay's result, whose heap is that of the program at each sample."""
    assert trace.processes[0].header.huge_pages == chosen()
    (result,) = replay(trace).processes
    assert result.exact
    assert result.samples
    for sample in result.samples:
        assert (sample.heap_twin_bytes, sample.mapped_twin_bytes) == (sample.heap_bytes, sample.mapped_bytes)
    return result


@pytest.mark.skipif(chosen() == "never", reason=f"{ENABLED} says never, or is missing")
def test_a_heap_that_asks_for_huge_pages(recorded: Recorder, programs: Path) -> None:
    small = equal_heap(recorded(programs / "fragment"))
    huge = equal_heap(recorded(programs / "fragment", GLIBC_TUNABLES="glibc.malloc.hugetlb=1"))
    assert huge.minor_faults < small.minor_faults / 10
    assert huge.peak_rss_bytes > small.peak_rss_bytes


@pytest.mark.skipif(chosen() == "never", reason=f"{ENABLED} says never, or is missing")
def test_a_process_that_may_not_have_any(recorded: Recorder, programs: Path) -> None:
    without = [sys.executable, "-c", WITHOUT, str(programs / "fragment")]
    trace = recorded(*without, GLIBC_TUNABLES="glibc.malloc.hugetlb=1")
    image = trace.processes[-1]
    assert image.header.huge_pages == "never"
    result = replay(trace).processes[-1]
    assert result.exact
    assert result.minor_faults > 30_000
    assert all(sample.heap_twin_bytes == sample.heap_bytes for sample in result.samples)


def test_a_machine_that_always_gives_huge_pages(always: None, recorded: Recorder, programs: Path) -> None:
    result = equal_heap(recorded(programs / "fragment", MALLOC_TOP_PAD_=str(64 << 20)))
    assert any("khugepaged" in note for note in result.notes)
    assert result.minor_faults < 41_000 / 10  # a heap of 136 MiB in pages of 4 KiB


@on_request
def test_a_heap_of_reserved_huge_pages(recorded: Recorder, programs: Path) -> None:
    """More than the pool has, so that glibc falls back to small pages in the middle. RSS counts no reserved ones.

    The tunable is for the program alone: `memtwin record` would use the pool as well.
    """
    command = ("/usr/bin/env", "GLIBC_TUNABLES=glibc.malloc.hugetlb=2", programs / "fragment")
    with huge_pool(24):
        with_pool = recorded(*command).processes[-1]
        assert with_pool.header.free_huge_pages["2097152"] == 24
        result = replay(recorded(*command)).processes[-1]
    assert result.exact
    without = replay(recorded("/usr/bin/env", "A=", *command[1:])).processes[-1]
    assert without.exact
    assert result.peak_rss_bytes < without.peak_rss_bytes - 20 * (2 << 20)


def test_the_twin_s_pool_is_the_machine_s() -> None:
    header = Header("1", 1, 0, kernel="6.18.0", free_huge_pages={"2097152": 24, "1073741824": 100, "16384": 9})
    assert pool_for(header, profile_for(header)) == {2 << 20: 24, 1 << 30: 16}
    assert not any(pool_for(Header("1", 1, 0, kernel="6.18.0"), profile_for(header)).values())


@pytest.mark.parametrize("word", ["never", "madvise", "always"])
def test_the_twin_is_as_the_machine_was(word: str) -> None:
    assert profile_for(Header("1", 1, 0, kernel="6.18.0", huge_pages=word)).thp == word
