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

if TYPE_CHECKING:
    from memtwin.kernel.frames import Frames

_FRAME_MASK = (1 << 52) - 1


class Kind(NamedTuple):
    """What an event is: its kind, and a sentence about it with the event's fields in braces."""

    kind: str
    sentence: str


# by number (flags.py, EVENT_*)
KINDS = {
    1: Kind("zero page", "first read of {what}: mapped to the shared zero page"),
    2: Kind("demand zero", "first write to {what}: {frames} of zeros"),
    3: Kind("copy", "write to a shared page: frame {old_frame} copied to {frame}, because {others}"),
    4: Kind("replace zero", "first write to {what}, until now the shared zero page: frame {frame} of zeros"),
    5: Kind("reuse", "write to a page that was shared: frame {frame} is kept, because nobody else maps it any more"),
    6: Kind("file", "access to {what} of a file: found in the page cache, mapped to {frames}"),
    7: Kind("file read", "access to {what} of a file: read from disk into {frames}"),
    8: Kind("file copy", "write to a private page of a file: frame {old_frame} of the page cache copied to {frame}"),
    9: Kind("swap in", "access to {what}, which was in swap slot {old_frame}: read into frame {frame}"),
    10: Kind("swap out", "{what} leaves frame {frame} for swap slot {old_frame}: memory is short"),
    11: Kind("drop", "{what} leaves frame {frame}: memory is short, and its bytes are on disk"),
    12: Kind("huge", "first access to {span}: a huge page, frames from {frame} on"),
    13: Kind("split huge", "the huge page at {start:#x} is split into small ones"),
    14: Kind("map", "{span} mapped"),
    15: Kind("unmap", "{span} unmapped"),
    16: Kind("split", "the mapping is split at {start:#x}: its parts are to differ"),
    17: Kind("merge", "{span} merges with its neighbour: nothing distinguishes them"),
    18: Kind("protect", "{span}: other accesses are allowed from now on"),
    19: Kind("brk", "the program break moves from {start:#x} to {end:#x}"),
    20: Kind("stack", "an access below the stack: it grows down to {start:#x}"),
    21: Kind("fork", "process {space} forks: it shares its private pages with process {old_frame} from now on"),
    22: Kind("exit", "process {space} gives all its memory back"),
    23: Kind("kill", "the OOM killer ends process {space}"),
    24: Kind("signal", "access to {start:#x} is not allowed: signal {frame}, code {old_frame}"),
}  # fmt: skip
_COPY, _ALL_FRAMES = 3, frozenset((3, 8))


class Event(NamedTuple):
    """Something that happened.

    number: counts up over the machine's life; code, kind: which, see KINDS; space: number of the address space; [start,
    end): the addresses it is about; frame, old_frame: the frame now and before, or what the kind's sentence says of
    them; others: numbers of the other spaces that map `old_frame`, for copies.
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
        others = other_spaces(space, old_frame) if code == _COPY else ()
        event = Event(
            self.told, code, KINDS[code].kind, number_of(space), start, end, frame, old_frame, others,
            int(space.page_size),
        )  # fmt: skip
        for observer in list(self._attached):
            try:
                observer(event)
            except Exception as error:  # an observer must not be able to break what it looks at
                self.failed.append((observer, error))
                self.detach(observer)


def number_of(space: Any) -> int:
    """A space's number in its machine."""
    return int(getattr(space, "number", 0))


def other_spaces(space: Any, pfn: int) -> tuple[int, ...]:
    """The numbers of the other spaces whose page tables map the frame, found as the kernel finds them (rmap)."""
    frames = space.frames
    state = frames.state(pfn)
    owner: Any = frames.owners.get(state["owner"])
    found = set()
    for vma in list(getattr(owner, "vmas", ())):
        address = vma.start + ((state["index"] - vma.pgoff) << space.page_shift)
        if vma.space is not space and vma.start <= address < vma.end and maps(vma.space, address, pfn):
            found.add(number_of(vma.space))
    return tuple(sorted(found))


def maps(space: Any, address: int, pfn: int) -> bool:
    """Whether a space's page table maps the frame at an address."""
    at = space.pages.entry(address)
    if not at:
        return False
    entry = ctypes.c_uint64.from_address(at).value
    return bool(entry & 0x101 and (entry & _FRAME_MASK) >> space.page_shift == pfn)


def explain(event: Event) -> str:
    """One sentence for a person: what happened and why."""
    pages = max((event.end - event.start) // event.page_size, 1)
    fields = {
        **event._asdict(),
        "what": f"page {event.start:#x}" if pages == 1 else f"{pages} pages from {event.start:#x}",
        "span": f"{event.start:#x}-{event.end:#x}",
        "frames": f"frame {event.frame}" if pages == 1 else f"{pages} frames from {event.frame}",
        "others": _others(event.others),
    }
    return KINDS[event.code].sentence.format(**fields)


def _others(numbers: tuple[int, ...]) -> str:
    if not numbers:
        return "it is not this mapping's alone"
    if len(numbers) == 1:
        return f"process {numbers[0]} also maps it"
    return f"processes {', '.join(map(str, numbers[:-1]))} and {numbers[-1]} also map it"
