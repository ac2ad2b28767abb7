# SPDX-License-Identifier: LGPL-2.1-or-later
"""The public names, pinned: what `import memtwin` offers, and which calls a process has."""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import memtwin
from memtwin.host.process import Process as HostProcess
from memtwin.script import CALLS
from memtwin.twin.process import Process
from memtwin.twin.threads import Thread

NAMES = """
    Aborted BusError Exited HeapWatch KernelProfile Killed Machine MemoryFault MemtwinError OutOfMemoryKilled Process
    SegmentationFault Thread TraceError UserError ValidationError constants host layout pictures
""".split()

MACHINE = "adopt buddy calls fork_of frames kernel observe observers page_size processes spawn swap".split()

# Beyond the calls of a script.
PROCESS = """
    address_space array ended errno explain f32 f64 files fork heap heaps i16 i32 i64 i8 is_own_data libc machine main_thread majflt
    mapped_frames maps mcheck_check_all messages minflt mprobe pages paging parent pid pointer rss smaps space spare_stacks start status string threads touched_pages u16
    u32 u64 u8 walk word word_at
""".split()


def test_the_names_of_the_package() -> None:
    assert sorted(memtwin.__all__) == NAMES == dir(memtwin)
    assert all(getattr(memtwin, name) is not None for name in NAMES)
    with pytest.raises(AttributeError):
        memtwin.no_such_name  # noqa: B018


def test_the_names_of_machine_and_process() -> None:
    machine = memtwin.Machine(ram="64 MiB")
    process = machine.spawn()
    assert sorted(_public(machine)) == MACHINE
    assert sorted(_public(process) - set(CALLS)) == sorted(set(PROCESS) - set(CALLS))


def _public(thing: object) -> set[str]:
    return {name for name in dir(thing) if not name.startswith("_")}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_of_the_chapter_has_the_same_arguments_on_twin_and_host(name: str) -> None:
    ours, theirs = (list(inspect.signature(getattr(kind, name)).parameters) for kind in (Process, HostProcess))
    assert ours == theirs
    assert getattr(Process, name).__doc__ and getattr(HostProcess, name).__doc__


def test_importing_costs_nothing() -> None:
    code = "import sys, memtwin; print([m for m in sys.modules if m.startswith('memtwin.')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_types_are_there_for_whoever_checks_them() -> None:
    assert (Path(memtwin.__file__).parent / "py.typed").exists()
    assert all(inspect.getdoc(kind) for kind in (memtwin.Machine, Process, Thread))


@pytest.mark.parametrize("module", ["memtwin", "memtwin.twin.machine", "memtwin.typed", "memtwin.structs"])
def test_the_examples_in_docstrings_are_true(module: str) -> None:
    assert doctest.testmod(import_module(module)).failed == 0
