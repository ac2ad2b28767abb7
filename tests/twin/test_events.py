# SPDX-License-Identifier: LGPL-2.1-or-later
"""Each call told in sentences: what it did to which pages, and why."""

from __future__ import annotations

import pytest

from memtwin import Exited, Machine
from memtwin.views import Event, EventsView


def test_a_story() -> None:
    machine = Machine(ram="64 MiB")
    told: list[Event] = []
    machine.observe(told.append)
    p = machine.spawn()
    pages = p.mmap(length=4 * 4096)
    p.read(pages, 1)
    p.write(pages, b"x")
    p.touch(pages + 4096, 3 * 4096)
    child = p.fork()
    old = p.pages(pages, 1).pages[0].frame
    child.write(pages, b"y")
    p.write(pages, b"z")
    p.mprotect(pages, 4 * 4096, 1)
    p.munmap(pages, 4 * 4096)
    p.sbrk(4096)
    with pytest.raises(Exited):
        child.exit()
    kinds = [event.kind for event in told]
    assert kinds == [
        "map", "merge", "zero page", "replace zero", "demand zero", "fork", "copy", "reuse", "protect", "split", "unmap",
        "brk", "exit",
    ]  # fmt: skip
    assert told[6].sentence.startswith(f"process 2: write to a shared page: frame {old} copied to ")
    assert told[6].sentence.endswith(f"because process {p.pid} also maps it")
    assert told[4].sentence == f"process 1: first write to 3 pages from {pages + 4096:#x}: 3 frames of zeros"
    assert told[5].sentence.startswith("process 1 forks: it shares its private pages with process 2 until")
    assert "until now the page of zeros" in told[3].sentence
    assert EventsView(tuple(told)).svg().startswith("<svg")


def test_nobody_listens_nobody_pays() -> None:
    machine = Machine(ram="64 MiB")
    machine.spawn().malloc(10)
    assert machine.calls == 0
