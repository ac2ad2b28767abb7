# SPDX-License-Identifier: LGPL-2.1-or-later
"""A machine with one process that a script plays on, and what a page shows of it after each step."""

from __future__ import annotations

import errno
import signal
from collections.abc import Callable, Mapping
from typing import Any

from memtwin import pictures, script
from memtwin.errors import Killed, UserError
from memtwin.kernel.observe import Event as KernelEvent
from memtwin.libc.release import RELEASES
from memtwin.twin import events, heapview, observe
from memtwin.twin.environment import settings_of
from memtwin.twin.explain import explain_frame
from memtwin.twin.machine import Machine
from memtwin.twin.process import Process
from memtwin.units import format_size, parse_size
from memtwin.views import AddressSpaceView

MOST_SENTENCES = 12
MOST_CHUNKS = 160  # of the heap's picture
MAX_RAM = 256 << 20  # bytes of the machine that a page may ask for
DEFAULT = {"ram": "16 MiB"}
_SETTINGS = {"ram", "swap", "page_size"}

# C libraries that a page may choose, by their names there: arguments of Machine.spawn.
LIBRARIES: dict[str, dict[str, Any]] = {
    **{release: {"glibc": release} for release in reversed(RELEASES)},
    "classic": {"glibc": RELEASES[0], "classic_check": True},
}


class Scene:
    """What the lab plays on. machine: settings of Machine that a page may choose (ram, swap, page_size), and the
    "glibc" of the process, one of LIBRARIES; environment: of the process."""

    def __init__(self, machine: dict[str, Any], environment: Mapping[str, str]) -> None:
        settings = {**DEFAULT, **machine}
        library = settings.pop("glibc", RELEASES[-1])
        if library not in LIBRARIES:
            raise UserError(f"glibc {library!r:.40}: a page chooses among {', '.join(LIBRARIES)}")
        if not settings.keys() <= _SETTINGS:
            raise UserError(f"a page chooses {', '.join(sorted(_SETTINGS))} of its machine, nothing else")
        if parse_size(settings["ram"]) > MAX_RAM or parse_size(settings.get("swap", 0)) > MAX_RAM:
            raise UserError(f"the lab's machine has at most {format_size(MAX_RAM)} of RAM and of swap")
        self.machine = Machine(**settings)
        chosen = LIBRARIES[library]
        self.process = self.machine.spawn(**chosen, **settings_of(environment, chosen["glibc"]))
        self.family: list[Process] = [self.process]
        self.names: dict[int, str] = {}
        self.step: script.Step | None = None
        self.before: dict[str, Any] = {}
        self.listening: events.Listening | None = None
        self.told: list[KernelEvent] = []
        self.printed: dict[int, int] = {}  # by pid: messages before the step that is shown
        self.now: dict[str, Any] | None = None  # what is there, while nothing was called since it was looked at
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
        self.now = None
        if self.listening is not None:
            self.told = self.listening.end()
            self.listening = None

    def remember(self) -> None:
        """The next step is the one to be shown: keep the state before it, to mark what it changes."""
        self.before = self._look()
        self.printed = {one.pid: len(one.messages) for one in self.family}
        self.listening = events.Listening(self.machine)

    def _look(self) -> dict[str, Any]:
        if self.now is None:
            self.now = self._views()
        return self.now

    def _views(self) -> dict[str, Any]:
        living = [one for one in self.family if one.ended is None]
        shown = living[-1] if living else None
        views: dict[str, Any] = {"frames": self.machine.frames(), "buddy": self.machine.buddy()}
        if shown is not None:
            around = self._address(shown)
            views["pages"] = tuple(observe.touched_pages(one, around=around) for one in living[:2])
            views["address space"] = observe.address_space(shown)
            views["heap"] = views["bins"] = heapview.MainHeap(shown, observe.Sight(shown))
        if self.machine.kernel.swap:
            views["swap"] = self.machine.swap()
        return views

    def show(self, position: int, language: str = "en") -> dict[str, Any]:
        """The scene for a page: position, the call in words, what happened, counts, and the pictures by name."""
        now = self._look()
        resident = sum(one.space.rss_pages for one in self.family if one.ended is None) * self.machine.page_size
        shown: dict[str, Any] = {
            "position": position,
            "line": 0,
            "counts": {"minor": self.minor, "major": self.major, "resident": format_size(resident)},
            "pictures": self._pictures(now, self.before if position else {}, language),
        }
        if position and self.step is not None:
            step = self.step
            shown |= {"line": step.line, "call": step.text, "result": _result(step.result, language),
                      "errno": _errno(step), "error": _end(step.error),
                      "sentences": self._sentences(step, language)}  # fmt: skip
        return shown

    def _pictures(self, now: dict[str, Any], before: dict[str, Any], language: str) -> dict[str, str]:
        now, before = self._around(now), self._around(before)
        drawn = {name: draw(now[name], before.get(name), language) for name, draw in _PICTURES.items() if name in now}
        space: AddressSpaceView | None = now.get("address space")
        if space is not None:
            drawn["break"] = pictures.moving_break(space, before.get("address space"), language)
            living = next(one for one in self.family if one.ended is None)
            drawn["walk"] = pictures.table_walk(observe.walk(living, self._address(living)), None, language)
        return drawn

    def _around(self, views: dict[str, Any]) -> dict[str, Any]:
        """The views with that part of a large heap in which the last call's pointer lies."""
        if "heap" not in views:
            return views
        heap = views["heap"].view(self.names, self._address(self.family[-1]), MOST_CHUNKS)
        return {**views, "heap": heap, "bins": heap}

    def _address(self, process: Process) -> int:
        """The address worth translating: the last call's pointer, or the heap's start."""
        if self.step is not None:
            for value in (self.step.result, *self.step.arguments):
                if isinstance(value, int) and value > 1 << 16:
                    return value & (1 << 47) - 1
        return process.space.brk_start

    def _sentences(self, step: script.Step, language: str) -> list[str]:
        """How many faults, and each thing that happened with its cause."""
        counts = zip(_FAULTS[language], (step.minflt, step.majflt), strict=True)
        said = [_PRINTED[language].format(message) for message in self._messages()]
        said += [words.format(count) for words, count in counts if count]
        told = [events.sentence(event, language) for event in self.told[:MOST_SENTENCES]]
        return said + [f"{sentence[0].upper()}{sentence[1:]}." for sentence in told]

    def _messages(self) -> list[str]:
        """What glibc printed during the last call without ending the process."""
        new = [one.messages[self.printed.get(one.pid, len(one.messages)) :] for one in self.family]
        return [message for messages in new for message in messages]

    def explain(self, key: str, language: str = "en") -> str:
        """What a thing in a picture is, by its key: an address, or "frame N". UserError for anything else."""
        try:
            if key.startswith("frame "):
                return self._explain_frame(int(key.removeprefix("frame ")), language)
            address = int(key, 0)
        except ValueError:
            raise UserError(f"{key[:40]!r} is neither an address nor a frame") from None
        living = [one for one in self.family if one.ended is None]
        if not living or not 0 <= address < 1 << 64:
            raise UserError(f"{key[:40]!r}: no process has such an address")
        return living[-1].explain(address, language)

    def _explain_frame(self, number: int, language: str) -> str:
        if not 0 <= number < self.machine.kernel.frames.total:
            raise UserError(f"the machine has no frame {number}")
        (frame,) = self.machine.frames(number, 1).frames
        return explain_frame(frame, language)


_ALLOCATING = {"malloc", "calloc", "realloc", "reallocarray", "memalign", "aligned_alloc", "valloc", "pvalloc",
               "xmalloc", "malloc0", "xmalloc0"}  # fmt: skip

_FAULTS = {
    "en": ("Minor faults: {}. Pages were found or made without waiting for a disk.",
           "Major faults: {}. Pages had to be brought in from swap or a file."),
    "ko": ("마이너 폴트: {}. 디스크를 기다리지 않고 페이지를 찾거나 만들었다.",
           "메이저 폴트: {}. 스왑이나 파일에서 페이지를 들여와야 했다."),
}  # fmt: skip

_RESULTS = {"en": ("nothing", "process {}"), "ko": ("없음", "프로세스 {}")}

_PRINTED = {"en": "glibc prints to stderr: {}", "ko": "glibc가 stderr에 출력: {}"}

_PICTURES: dict[str, Callable[[Any, Any, str], str]] = {
    "address space": pictures.address_space,
    "pages": pictures.page_table,
    "frames": pictures.frames_grid,
    "heap": pictures.heap_strip,
    "bins": pictures.bins,
    "swap": pictures.swap_map,
    "buddy": pictures.buddy,
}


def _end(error: Killed | UserError | None) -> str | None:
    """What a call ended with, where that was no result; a death without last words by its signal."""
    if error is None:
        return None
    return str(error) or signal.Signals(error.signal).name if isinstance(error, Killed) else str(error)


def _errno(step: script.Step) -> str:
    """What the call left in errno, "ENOMEM"; "" for nothing."""
    return errno.errorcode.get(step.errno, str(step.errno)) if step.errno else ""


def _result(value: Any, language: str) -> str:
    nothing, process = _RESULTS[language]
    if value is None:
        return nothing
    if isinstance(value, Process):
        return process.format(value.pid)
    return script.show_value(value)
