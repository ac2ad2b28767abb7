# SPDX-License-Identifier: LGPL-2.1-or-later
"""Observers: told while attached, never able to break what they look at; every kind of event has its sentence."""

from __future__ import annotations

from itertools import groupby, product

import pytest

from memtwin.errors import SegmentationFault, UserError
from memtwin.kernel import flags
from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.machine import Machine
from memtwin.kernel.observe import Event, other_spaces
from memtwin.kernel.sentences import KINDS, explain

PAGE = 4096


def test_every_kind_has_a_number_and_a_sentence() -> None:
    numbers = {value for name, value in vars(flags).items() if name.startswith("EVENT_")}
    assert numbers == set(KINDS)
    for code, kind in KINDS.items():
        for end, language in product((0x2000, 0x3000), ("en", "ko")):
            text = explain(Event(1, code, kind.kind, 1, 0x1000, end, 57, 91, (2, 3)), language)
            assert "{" not in text
            assert "  " not in text


def test_attached_observers_are_told_and_others_not() -> None:
    machine = Machine(ram=8 << 20)
    space = AddressSpace(machine, window_bits=32)
    first: list[Event] = []
    second: list[Event] = []
    assert not machine.frames.observed
    machine.observers.attach(first.append)
    machine.observers.attach(second.append)
    machine.observers.tell(space, flags.EVENT_DEMAND_ZERO, 0x1000, 0x2000, 57, 0)
    machine.observers.detach(first.append)
    machine.observers.tell(space, flags.EVENT_DEMAND_ZERO, 0x2000, 0x5000, 58, 0)
    assert [str(event) for event in first] == ["first write to page 0x1000: frame 57 of zeros"]
    assert str(second[1]) == "first write to 3 pages from 0x2000: 3 frames of zeros"
    assert [event.number for event in second] == [1, 2]
    machine.observers.detach(second.append)
    assert not machine.frames.observed


def test_an_observer_that_raises_is_taken_off() -> None:
    machine = Machine(ram=8 << 20)
    space = AddressSpace(machine, window_bits=32)

    def broken(event: Event) -> None:
        raise ValueError("no")

    machine.observers.attach(broken)
    machine.observers.tell(space, flags.EVENT_EXIT, 0, 0, 0, 0)
    assert [str(error) for _, error in machine.observers.failed] == ["no"]
    assert not machine.frames.observed
    with pytest.raises(UserError, match="callable"):
        machine.observers.attach(None)  # type: ignore[arg-type]


def test_who_else_maps_a_frame() -> None:
    machine = Machine(ram=8 << 20)
    parent = AddressSpace(machine, window_bits=32)
    base = parent.sys_mmap(0, 2 * PAGE, 3, 0x22, None, 0)
    parent.write(base, b"x" * 2 * PAGE)
    child = parent.fork(window_bits=32)
    frame = next(entry >> 12 for at, entry, _ in parent.pages.entries() if at == base)
    assert len(other_spaces(parent, frame)) == 1
    child.write(base, b"y")
    assert other_spaces(parent, frame) == ()


def test_each_step_of_a_small_story_is_told_with_its_cause() -> None:
    machine = Machine(ram=32 << 20)
    space = AddressSpace(machine, window_bits=32)
    events: list[Event] = []
    machine.observers.attach(events.append)

    def told() -> list[str]:
        kinds = [kind for kind, _ in groupby(event.kind for event in events)]
        events.clear()
        return kinds

    base = space.sys_mmap(0, 8 * PAGE, 3, 0x22, None, 0)
    assert told() == ["map"]
    space.read(base, 1)
    space.write(base, b"x")
    space.touch(base + PAGE, 3 * PAGE, 2)
    assert told() == ["zero page", "replace zero", "demand zero"]
    space.write(base, b"again")
    space.read(base, 5)
    assert told() == []
    child = space.fork(window_bits=32)
    child.write(base, b"y")
    sentence = str(events[-1])
    assert told() == ["fork", "copy"]
    assert sentence.startswith("write to a shared page: frame ")
    assert sentence.endswith(f"because process {space.number} also maps it")
    space.write(base, b"z")
    assert told() == ["reuse"]
    space.sys_mprotect(base + 2 * PAGE, PAGE, 1)
    assert told() == ["protect", "split"]
    space.sys_mprotect(base + 2 * PAGE, PAGE, 3)
    assert told() == ["protect", "merge"]
    grown = space.sys_mremap(base + 7 * PAGE, PAGE, 2 * PAGE, 0, 0)
    assert (grown, told()) == (base + 7 * PAGE, ["map"])
    space.sys_mremap(base + 7 * PAGE, 2 * PAGE, 4 * PAGE, flags.MREMAP_MAYMOVE | flags.MREMAP_FIXED, base - 9 * PAGE)
    assert [kind for kind in told() if kind != "split"] == ["move", "unmap"]
    space.sys_madvise(base, PAGE, flags.MADV_DONTNEED)
    assert told() == ["discard"]
    with pytest.raises(SegmentationFault):
        space.read(0x1000, 1)
    assert told() == ["signal"]
    space.sys_brk(space.brk_start + 2 * PAGE)
    space.sys_munmap(base, 8 * PAGE)
    child.release_all()
    assert told()[:2] == ["brk", "unmap"]
    assert not machine.observers.failed


def test_swap_reclaim_and_the_oom_killer_are_told() -> None:
    machine = Machine(ram=16 << 20, swap=4 << 20)
    space = AddressSpace(machine, window_bits=32)
    events: list[Event] = []
    file = machine.disk_file(b"a" * 64 * PAGE, "/file")
    text = space.sys_mmap(0, 64 * PAGE, 1, 2, file, 0)
    base = space.sys_mmap(0, 8 * PAGE, 3, 0x22, None, 0)
    space.write(base, b"x" * 8 * PAGE)
    machine.observers.attach(events.append)
    space.sys_madvise(base, PAGE, flags.MADV_PAGEOUT)
    assert [str(event) for event in events if event.kind != "split"] == [
        f"page {base:#x} leaves frame {events[-1].frame} for swap slot {events[-1].old_frame}: "
        "memory is short, or the program asked"
    ]
    space.read(base, 1)
    assert (events[-1].kind, events[-1].start) == ("swap in", base)
    space.touch(text, 64 * PAGE, 1)
    more = space.sys_mmap(0, 64 << 20, 3, 0x22 | 0x4000, None, 0)
    space.touch(more, 64 << 20, 2)
    kinds = {event.kind for event in events}
    assert {"drop", "swap out", "kill"} <= kinds
    assert {event.start for event in events if event.kind == "drop"} == {text + page * PAGE for page in range(64)}
    killed = [event for event in events if event.kind == "kill"]
    assert [str(event) for event in killed] == [
        f"the OOM killer ends process {space.number}: no frame is left, and it has the most"
    ]
    assert not machine.observers.failed


def test_pages_of_files_and_huge_pages_are_told() -> None:
    machine = Machine(ram=32 << 20)
    space = AddressSpace(machine, window_bits=32)
    events: list[Event] = []
    file = machine.disk_file(b"a" * 3 * PAGE, "/file")
    base = space.sys_mmap(0, 3 * PAGE, 3, 2, file, 0)
    machine.observers.attach(events.append)
    space.read(base, 1)
    space.write(base, b"b")
    assert [event.kind for event in events] == ["file", "file copy"]
    huge = space.sys_mmap(0, 2 << 20, 3, 0x22, None, 0)
    space.sys_madvise(huge, 2 << 20, flags.MADV_HUGEPAGE)
    space.write(huge, b"x")
    space.sys_munmap(huge, PAGE)
    assert [event.kind for event in events][-3:] == ["split", "split huge", "unmap"]
    assert "huge" in [event.kind for event in events]
