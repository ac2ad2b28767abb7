# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a call did to memory, told in sentences: the kernel's own events (kernel/observe.py) while the call was made.

Neighbouring pages to which the same happened are one event. Processes are called by their pids. The kinds are the
kernel's: "demand zero", "copy", "reuse", "swap in", "map" … (sentences.KINDS).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from memtwin.kernel.flags import EVENT_BRK, EVENT_EXIT, EVENT_FORK, EVENT_KILL, EVENT_MAP, EVENT_SIGNAL
from memtwin.kernel.observe import Event as KernelEvent
from memtwin.kernel.sentences import explain
from memtwin.views import Event

if TYPE_CHECKING:
    from memtwin.twin.machine import Machine
    from memtwin.twin.process import Process

_ALONE = {EVENT_BRK, EVENT_EXIT, EVENT_FORK, EVENT_KILL, EVENT_SIGNAL}  # never one with its neighbour
_NAMED = {EVENT_EXIT, EVENT_FORK, EVENT_KILL}  # whose sentences name the process


class Listening:
    """The events of a machine from now on, until `end`."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._heard: list[KernelEvent] = []
        self._known = self._living()
        self._attached = self._heard.append  # one object, so that it can be detached
        machine.kernel.observers.attach(self._attached)

    def _living(self) -> dict[int, Process]:
        return {process.space.number: process for process in self.machine.processes.values()}

    def end(self) -> list[KernelEvent]:
        """Stop listening: what happened, neighbours joined, with pids in place of the numbers of address spaces.

        What happened to the data that processes keep resident is left out.
        """
        self.machine.kernel.observers.detach(self._attached)
        known = self._known | self._living()
        pids = {number: process.pid for number, process in known.items()}
        kept = [event for event in self._heard if not _is_own(event, known.get(event.space))]
        return [_by_pid(event, pids) for event in joined(kept)]


def _is_own(event: KernelEvent, process: Process | None) -> bool:
    return process is not None and event.start > 0 and event.code < EVENT_MAP and process.is_own_data(event.start)


def joined(events: Iterable[KernelEvent]) -> Iterator[KernelEvent]:
    """Events in order, those of neighbouring pages of one process as one; a joined event has its first page's frame."""
    last: KernelEvent | None = None
    for event in events:
        if last is not None and _continues(last, event):
            last = last._replace(end=event.end)
            continue
        if last is not None:
            yield last
        last = event
    if last is not None:
        yield last


def _continues(last: KernelEvent, event: KernelEvent) -> bool:
    same = (last.code, last.space, last.others) == (event.code, event.space, event.others)
    return same and event.code not in _ALONE and event.start == last.end


def _by_pid(event: KernelEvent, pids: Mapping[int, int]) -> KernelEvent:
    others = tuple(sorted(pids.get(number, number) for number in event.others))
    child = pids.get(event.old_frame, event.old_frame) if event.code == EVENT_FORK else event.old_frame
    return event._replace(space=pids.get(event.space, event.space), others=others, old_frame=child)


def sentence(event: KernelEvent, language: str = "en") -> str:
    """What happened and why, with the process it happened to."""
    said = explain(event, language)
    who = {"en": "process", "ko": "프로세스"}[language]
    return said if event.code in _NAMED else f"{who} {event.space}: {said}"


class Observation:
    """One call under observation: made before it; `end` after it, whatever came of it."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._listening = Listening(machine)

    def end(self) -> None:
        """Tell the observers what happened."""
        self.machine.calls += 1
        for event in self._listening.end():
            for observer, language in self.machine.observers:
                observer(Event(self.machine.calls, event.kind, sentence(event, language)))
