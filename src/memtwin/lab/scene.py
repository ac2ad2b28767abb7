# SPDX-License-Identifier: LGPL-2.1-or-later
"""A machine with one process that a script plays on, and what a page shows of it after each step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from memtwin import pictures, script
from memtwin.errors import UserError
from memtwin.twin import events, heapview, observe
from memtwin.twin.machine import Machine
from memtwin.twin.process import Process
from memtwin.units import format_size, parse_size
from memtwin.views import AddressSpaceView

MAX_RAM = 256 << 20  # bytes of the machine that a page may ask for
DEFAULT = {"ram": "16 MiB"}
_SETTINGS = {"ram", "swap", "page_size"}


class Scene:
    """What the lab plays on. machine: settings of Machine that a page may choose (ram, swap, page_size)."""

    def __init__(self, machine: dict[str, Any]) -> None:
        settings = {**DEFAULT, **machine}
        if not settings.keys() <= _SETTINGS:
            raise UserError(f"a page chooses {', '.join(sorted(_SETTINGS))} of its machine, nothing else")
        if parse_size(settings["ram"]) > MAX_RAM or parse_size(settings.get("swap", 0)) > MAX_RAM:
            raise UserError(f"the lab's machine has at most {format_size(MAX_RAM)} of RAM and of swap")
        self.machine = Machine(**settings)
        self.process = self.machine.spawn()
        self.family: list[Process] = [self.process]
        self.names: dict[int, str] = {}
        self.step: script.Step | None = None
        self.before: dict[str, Any] = {}
        self.state: events.State | None = None
        self.said: list[str] = []
        self.minor = self.major = 0

    def made(self, step: script.Step) -> None:
        """A call was made: keep what it returned for labels and words."""
        self.step = step
        if isinstance(step.result, Process):
            self.family.append(step.result)
        if step.name in _ALLOCATING and isinstance(step.result, int) and step.result > 0:
            self.names[step.result] = f"{step.name} {step.line}"
        self.minor += step.minflt
        self.major += step.majflt

    def remember(self) -> None:
        """The next step is the one to be shown: keep the state before it, to mark what it changes."""
        self.before = self._views()
        self.state = events.State.of(self.machine)

    def _views(self) -> dict[str, Any]:
        living = [one for one in self.family if one.ended is None]
        shown = living[-1] if living else None
        views: dict[str, Any] = {"frames": self.machine.frames(), "buddy": self.machine.buddy()}
        if shown is not None:
            views["pages"] = tuple(observe.touched_pages(one) for one in living[:2])
            views["address space"] = observe.address_space(shown)
            views["heap"] = views["bins"] = heapview.heap(shown, self.names)
        if self.machine.kernel.swap:
            views["swap"] = self.machine.swap()
        return views

    def show(self, position: int) -> dict[str, Any]:
        """The scene for a page: position, the call in words, what happened, counts, and the pictures by name."""
        now = self._views()
        resident = sum(one.space.rss_pages for one in self.family if one.ended is None) * self.machine.page_size
        shown: dict[str, Any] = {
            "position": position,
            "line": 0,
            "counts": {"minor": self.minor, "major": self.major, "resident": format_size(resident)},
            "pictures": self._pictures(now, self.before if position else {}),
        }
        if position and self.step is not None:
            step = self.step
            shown |= {"line": step.line, "call": step.text, "result": _result(step.result),
                      "error": str(step.error) if step.error else None, "sentences": self._sentences(step)}  # fmt: skip
        return shown

    def _pictures(self, now: dict[str, Any], before: dict[str, Any]) -> dict[str, str]:
        drawn: dict[str, str] = {}
        for name, draw in _PICTURES.items():
            if name in now:
                drawn[name] = draw(now[name], before.get(name))
        space: AddressSpaceView | None = now.get("address space")
        if space is not None:
            drawn["break"] = pictures.moving_break(space, before.get("address space"))
            living = next(one for one in self.family if one.ended is None)
            drawn["walk"] = pictures.table_walk(observe.walk(living, self._address(living)))
        return drawn

    def _address(self, process: Process) -> int:
        """The address worth translating: the last call's pointer, or the heap's start."""
        if self.step is not None:
            for value in (self.step.result, *self.step.arguments):
                if isinstance(value, int) and value > 1 << 16:
                    return value & (1 << 47) - 1
        return process.space.brk_start

    def _sentences(self, step: script.Step) -> list[str]:
        said = []
        if step.minflt:
            said.append(_plural(step.minflt, "minor fault") + ": pages were found or made without waiting for a disk.")
        if step.majflt:
            said.append(_plural(step.majflt, "major fault") + ": pages had to be brought in from swap or a file.")
        said += self._changes()
        return said

    def _changes(self) -> list[str]:
        if self.state is None:
            return []
        told = [event.sentence for event in events.between(self.state, events.State.of(self.machine))]
        return [f"{sentence[0].upper()}{sentence[1:]}." for sentence in told[:12]]

    def explain(self, key: str) -> str:
        """What a thing in a picture is, by its key: an address, or "frame N". UserError for anything else."""
        try:
            if key.startswith("frame "):
                return self._explain_frame(int(key.removeprefix("frame ")))
            address = int(key, 0)
        except ValueError:
            raise UserError(f"{key[:40]!r} is neither an address nor a frame") from None
        living = [one for one in self.family if one.ended is None]
        if not living or not 0 <= address < 1 << 64:
            raise UserError(f"{key[:40]!r}: no process has such an address")
        return living[-1].explain(address)

    def _explain_frame(self, number: int) -> str:
        if not 0 <= number < self.machine.kernel.frames.total:
            raise UserError(f"the machine has no frame {number}")
        (frame,) = self.machine.frames(number, 1).frames
        owners = ", ".join(f"process {pid} at {address:#x}" for pid, address in frame.owners[:4]) or "no process"
        return f"Frame {number} is {frame.kind}; mapped by {owners}."


_ALLOCATING = {"malloc", "calloc", "realloc", "reallocarray", "memalign", "aligned_alloc", "valloc", "pvalloc",
               "xmalloc", "malloc0", "xmalloc0"}  # fmt: skip

_PICTURES: dict[str, Callable[[Any, Any], str]] = {
    "address space": pictures.address_space,
    "pages": pictures.page_table,
    "frames": pictures.frames_grid,
    "heap": pictures.heap_strip,
    "bins": pictures.bins,
    "swap": pictures.swap_map,
    "buddy": pictures.buddy,
}


def _plural(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _result(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Process):
        return f"process {value.pid}"
    return script.show_value(value)
