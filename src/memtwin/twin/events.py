# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a call did to memory, told in sentences: two states of a machine compared, page by page and region by region.

Neighbouring pages to which the same happened are one event. Kinds: "demand zero", "zero page", "copy on write",
"reuse" (the last owner keeps its frame), "file", "swap in", "swap out", "given back", "mapped", "unmapped",
"protected", "break", "new" and "ended".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memtwin.twin.observe import Sight, address_space
from memtwin.units import format_size
from memtwin.views import AddressSpaceView, Event, Page

if TYPE_CHECKING:
    from memtwin.twin.machine import Machine


@dataclass(frozen=True)
class State:
    """A machine at one moment: the regions and the pages of each process, by pid; bytes of a page."""

    spaces: dict[int, AddressSpaceView]
    pages: dict[int, dict[int, Page]]
    page_size: int

    @classmethod
    def of(cls, machine: Machine) -> State:
        """Everything that can be compared later, but for the data that processes keep resident.

        Costs a walk through all page tables.
        """
        spaces, pages = {}, {}
        for pid, process in machine.processes.items():
            sight = Sight(process)
            spaces[pid] = address_space(process)
            pages[pid] = {at: sight.page_at(at) for at in sight.entries if not process.is_own_data(at)}
        return cls(spaces, pages, machine.page_size)

    def owners(self, frame: int) -> list[int]:
        """The pids of all processes that map a frame."""
        return [pid for pid, pages in self.pages.items() if any(page.frame == frame for page in pages.values())]


def between(before: State, after: State, step: int = 0) -> Iterator[Event]:
    """What happened from one state to the other, process by process."""
    for pid, space in before.spaces.items():
        if pid not in after.spaces:
            yield Event(step, "ended", f"process {pid} is gone; the frames that only it mapped are free")
            continue
        for kind, sentence in (*_regions(space, after.spaces[pid]), *_pages(before, after, pid)):
            yield Event(step, kind, f"process {pid}: {sentence}")
    for pid in after.spaces.keys() - before.spaces.keys():
        yield Event(step, "new", f"process {pid} is new{_sharing(after, pid)}")


def _sharing(state: State, pid: int) -> str:
    """How many frames a new process has in common with others."""
    others = {page.frame for other, pages in state.pages.items() if other != pid for page in pages.values()}
    shared = sum(page.frame is not None and page.frame in others for page in state.pages[pid].values())
    lie = "lies in a frame" if shared == 1 else "lie in frames"
    return f": {shared} of its pages {lie} of its parent, until one of the two writes" if shared else ""


def _regions(old: AddressSpaceView, new: AddressSpaceView) -> Iterator[tuple[str, str]]:
    if old.brk_end != new.brk_end:
        way = "up" if new.brk_end > old.brk_end else "down"
        yield "break", f"the break moved {way} by {format_size(abs(new.brk_end - old.brk_end))} to {new.brk_end:#x}"
    there = sum(r.size for r in old.regions if r.kind != "heap"), sum(r.size for r in new.regions if r.kind != "heap")
    for region in new.regions:
        was = old.at(region.start)
        if was is not None and was.permissions != region.permissions:
            yield (
                "protected",
                f"{region.start:#x}-{region.end:#x} is {region.permissions} now, it was {was.permissions}",
            )
    if there[1] > there[0]:
        yield "mapped", f"{format_size(there[1] - there[0])} more are mapped{_new_places(old, new)}"
    elif there[1] < there[0]:
        yield "unmapped", f"{format_size(there[0] - there[1])} less are mapped; their pages went back at once"


def _new_places(old: AddressSpaceView, new: AddressSpaceView) -> str:
    places = [r for r in new.regions if r.kind != "heap" and old.at(r.start) is None]
    return f", from {places[0].start:#x} on" if len(places) == 1 else ""


@dataclass
class _Run:
    """Neighbouring pages to which the same happened."""

    kind: str
    start: int
    count: int
    first: Page
    was: Page | None


def _pages(before: State, after: State, pid: int) -> Iterator[tuple[str, str]]:
    old, new = before.pages[pid], after.pages[pid]
    run: _Run | None = None
    for address in sorted(old.keys() | new.keys()):
        was, now = old.get(address), new.get(address)
        kind = _kind(was, now)
        if run and kind == run.kind and address == run.start + run.count * after.page_size:
            run.count += 1
            continue
        if run:
            yield run.kind, _sentence(run, before)
        run = _Run(kind, address, 1, now or Page(address, "absent"), was) if kind else None
    if run:
        yield run.kind, _sentence(run, before)


def _kind(was: Page | None, now: Page | None) -> str:
    """What happened to one page; "" for nothing that is worth a word."""
    then, state = was.state if was else "absent", now.state if now else "absent"
    if state == "absent":
        return "given back" if then not in ("absent", "zero") else ""
    if state == "swapped":
        return "swap out" if then not in ("absent", "swapped") else ""
    if then == "swapped":
        return "swap in"
    if then == "absent":
        return {"anonymous": "demand zero", "zero": "zero page"}.get(state, "file")
    if was and now and was.frame != now.frame:
        return "demand zero" if then == "zero" else "copy on write"
    return "reuse" if was and now and now.writable and not was.writable and then in ("shared", "anonymous") else ""


def _sentence(run: _Run, before: State) -> str:
    many = run.count > 1
    what = f"{run.count} pages from {run.start:#x} on" if many else f"page {run.start:#x}"
    return f"{what}: {_REASONS[run.kind](run, before, many)}"


def _demand_zero(run: _Run, before: State, many: bool) -> str:
    instead = " in place of the page of zeros" if run.was is not None and run.was.state == "zero" else ""
    return f"the first write got {'frames' if many else f'frame {run.first.frame}'}, filled with zeros{instead}"


def _copied(run: _Run, before: State, many: bool) -> str:
    frame = run.was.frame if run.was else None
    others = [] if frame is None else before.owners(frame)
    more = ", ".join(f"process {pid}" for pid in others if before.pages[pid].get(run.start) is not run.was)
    why = f", because {more or 'another mapping'} {'map' if ', ' in more else 'maps'} it too"
    return "a write copied their frames" if many else f"a write copied frame {frame} to frame {run.first.frame}{why}"


_REASONS: dict[str, Callable[[_Run, State, bool], str]] = {
    "demand zero": _demand_zero,
    "copy on write": _copied,
    "zero page": lambda run, before, many: "a read found the page of zeros that all processes share",
    "reuse": lambda run, before, many: (
        f"a write made {'them' if many else 'it'} writable, as no one else maps the frame now; nothing was copied"
    ),
    "file": lambda run, before, many: (
        "found in the file's pages" if many else f"found in frame {run.first.frame}, a page of the file or of others"
    ),
    "swap in": lambda run, before, many: (
        f"brought in from the disk{'' if many else f' to frame {run.first.frame}'}: a major fault"
    ),
    "swap out": lambda run, before, many: (
        f"written to the disk{'' if many else f', slot {run.first.slot}'}: the frame is free"
    ),
    "given back": lambda run, before, many: (
        "its frame went back to the machine" if not many else "their frames went back"
    ),
}


class Observation:
    """One call under observation: made before it; `end` after it, whatever came of it."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.before = State.of(machine)

    def end(self) -> None:
        """Tell the observers what happened."""
        self.machine.calls += 1
        for event in between(self.before, State.of(self.machine), self.machine.calls):
            for observer in self.machine.observers:
                observer(event)
