# SPDX-License-Identifier: LGPL-2.1-or-later
"""Observers: who wants to know what the kernel of a machine does, told event by event, with the cause.

    machine.observers.attach(callable)    from now on callable(event) for each event of all its address spaces
    machine.observers.detach(callable)

While nobody is attached an event costs one test of a flag, in code that runs only where something changes: an access
that the permission byte allows tests nothing. An event is told before the state changes, so that it can say who else
maps a frame. An observer looks, it must not change the machine; one that raises is taken off, see `failed`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from memtwin.errors import UserError
from memtwin.kernel.flags import EVENT_COPY, PTE_MAPPED
from memtwin.kernel.sentences import KINDS, explain

if TYPE_CHECKING:
    from memtwin.kernel.frames import Frames


class Event(NamedTuple):
    """Something that happened.

    number: counts up over the machine's life; code, kind: which, see sentences.py; space: number of the address space;
    [start, end): the addresses it is about; frame, old_frame: the frame now and before, or what the kind's sentence
    says of them; others: numbers of the other spaces that map `old_frame`, for copies.
    """

    number: int
    code: int
    kind: str
    space: int
    start: int
    end: int
    frame: int = 0
    old_frame: int = 0
    others: tuple[int, ...] = ()
    page_size: int = 4096

    def __str__(self) -> str:
        return explain(self)


Observer = Callable[[Event], None]


class Observers:
    """The observers of one machine. failed: those that raised, with what they raised."""

    def __init__(self, frames: Frames) -> None:
        self._frames: Any = frames
        self._attached: list[Observer] = []
        self.told = 0
        self.failed: list[tuple[Observer, Exception]] = []

    def attach(self, observer: Observer) -> None:
        """Tell `observer` every event from now on. UserError: it is attached already, or nothing to call."""
        if not callable(observer) or observer in self._attached:
            raise UserError(f"observer {observer!r}: it must be callable, and is attached once")
        self._attached.append(observer)
        self._frames.observed = True

    def detach(self, observer: Observer) -> None:
        """Tell it nothing more; no error when it is not attached."""
        if observer in self._attached:
            self._attached.remove(observer)
        self._frames.observed = bool(self._attached)

    def tell(self, space: Any, code: int, start: int, end: int, frame: int, old_frame: int) -> None:
        """The kernel's side: something is about to happen in `space`."""
        self.told += 1
        others = other_spaces(space, old_frame) if code == EVENT_COPY else ()
        event = Event(
            self.told, code, KINDS[code].kind, space.number, start, end, frame, old_frame, others,
            int(space.page_size),
        )  # fmt: skip
        for observer in list(self._attached):
            try:
                observer(event)
            except Exception as error:  # an observer must not be able to break what it looks at
                self.failed.append((observer, error))
                self.detach(observer)


def other_spaces(space: Any, pfn: int) -> tuple[int, ...]:
    """The numbers of the other spaces whose page tables map the frame, found as the kernel finds them (rmap)."""
    frames = space.frames
    state = frames.state(pfn)
    owner: Any = frames.owners.get(state["owner"])
    found = set()
    for vma in list(getattr(owner, "vmas", ())):
        address = vma.start + ((state["index"] - vma.pgoff) << space.page_shift)
        if vma.space is not space and vma.start <= address < vma.end and maps(vma.space, address, pfn):
            found.add(vma.space.number)
    return tuple(sorted(found))


def maps(space: Any, address: int, pfn: int) -> bool:
    """Whether a space's page table maps the frame at an address."""
    at = space.pages.entry(address)
    if not at:
        return False
    entry = ctypes.c_uint64.from_address(at).value
    return bool(entry & PTE_MAPPED and entry >> space.page_shift == pfn)
