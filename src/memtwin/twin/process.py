# SPDX-License-Identifier: LGPL-2.1-or-later
"""Process: the C programmer's calls on the twin, under their C names and with C's results.

Addresses are ints in the process's own address space. `errno`, `minflt` and `majflt` are those of the last call.
What kills a real process raises: SegmentationFault, BusError, Aborted with glibc's message, Exited. Looking at it
(`maps`, `heap`, `explain` …) is no access of the program: it costs no fault and changes nothing.

Faults are counted for what a call does to the program's own memory. The data pages of program and C library are kept
resident, now and after each fork, as host.process keeps them in a real one: they would add noise that depends on
what was called before.

memtwin.host.Process offers the same calls on a real process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from memtwin.calls import MAX_AT_ONCE
from memtwin.errors import Aborted, Exited, Killed, MemoryFault, OutOfMemoryKilled, UserError
from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.procfs import maps, vma_name
from memtwin.kernel.smaps import smaps
from memtwin.kernel.status import status
from memtwin.libc.debug import CheckedMalloc
from memtwin.libc.malloc import Malloc
from memtwin.libc.mcheck import McheckMalloc
from memtwin.libc.release import DEFAULT
from memtwin.libc.tunables import minor_of
from memtwin.twin import explain, heapview, observe
from memtwin.twin.events import Observation
from memtwin.twin.heapcalls import WORD, integer
from memtwin.twin.ldso import Command
from memtwin.twin.program import Begun, Image
from memtwin.twin.threads import Thread, ThreadCalls
from memtwin.views import AddressSpaceView, HeapView, PagesView, PagingView, WalkView, WordView

if TYPE_CHECKING:
    from rich.console import RenderableType

    from memtwin.twin.machine import Machine

MAX_PAGES = 1 << 16  # of one view
_WRITE = 2  # memory.WRITE
_SIGKILL = 9
_STACK_IN_USE = 4  # pages of the stack that a program has touched when main() begins, and keeps touching
MCHECK = ("mcheck", "mcheck_pedantic")
_WINDOW_BITS = 36  # of a process's window: 64 GiB, so that thousands of processes fit


@dataclass(frozen=True)
class Library:
    """The C library of a process: tunables, processors it may use, MALLOC_CHECK_ or None, data model, whether
    MALLOC_CHECK_ means what it did up to 2.25, which function of mcheck(3) the program calls first ("": none); its
    release, "" for the one that the program brings."""

    release: str
    tunables: dict[str, int]
    cpus: int = 1
    malloc_check: int | None = None
    data_model: str = "LP64"
    classic_check: bool = False
    mcheck: str = ""

    def start(self, space: AddressSpace, begun: Begun) -> Malloc:
        """The allocator in an address space. UserError: an unknown release or tunable, or a value that is none."""
        release = self.release or begun.release or DEFAULT
        arena, mp = begun.main_arena, begun.mp
        if self.malloc_check is None and not self.mcheck:
            return Malloc(space, release, self.tunables, self.data_model, self.cpus, arena, mp)
        check = self.malloc_check or 0
        if not 0 <= check <= 3:
            raise UserError(f"MALLOC_CHECK_={check}: it is 0, 1, 2 or 3")
        if self.mcheck not in ("", *MCHECK):
            raise UserError(f"mcheck={self.mcheck!r}: the program calls {' or '.join(MCHECK)}")
        debug = McheckMalloc if self.mcheck else CheckedMalloc
        malloc = debug(space, release, {**self.tunables, "check": check}, self.data_model, self.cpus, arena, mp,
                       preloaded=minor_of(release) >= 34, classic=self.classic_check)  # fmt: skip
        if isinstance(malloc, McheckMalloc):
            malloc.mcheck(pedantic=self.mcheck == MCHECK[1])
        return malloc


class Process(ThreadCalls):
    """A process of a machine; `Machine.spawn` makes it.

    parent: the pid of the process that forked it, 0 for none; files: open
    files by descriptor; threads: those made by `thread`, by tid; main_thread: the tid of the one that began.
    """

    def __init__(self, machine: Machine, pid: int, space: AddressSpace, libc: Malloc, parent: int = 0) -> None:
        self.machine = machine
        self.pid = pid
        self.parent = parent
        self.space = space
        self.libc = libc
        self.word = int(libc.word)
        self._ended: Killed | None = None
        self.errno = self.minflt = self.majflt = 0
        self.files: dict[int, Any] = {}
        self.threads: dict[int, Thread] = {}
        self.spare_stacks: list[int] = []
        self._thread = self.main_thread = pid
        self._made_threads = 0
        self._own: tuple[tuple[int, int], ...] = ()

    @classmethod
    def start(cls, machine: Machine, pid: int, start: Image | Command, library: Library) -> Process:
        """A process on `machine` before its main(), from an image or a program; its data pages alone are resident.

        UserError: an unknown release or tunable, or a file that Linux would not start.
        """
        space = AddressSpace(machine.kernel, _WINDOW_BITS, library.data_model == "ILP32")
        process = cls(machine, pid, space, library.start(space, start.begin(space)))
        process._own = tuple(process._own_data())
        process._keep_resident()
        return process

    def _own_data(self) -> Iterator[tuple[int, int]]:
        """(address, bytes) of the writable parts of program, library and stack that a process keeps using."""
        space = self.space
        for vma in space.vmas():
            name = vma_name(space, vma)
            if vma.flags & 2 and name.startswith("/"):
                yield vma.start, vma.end - vma.start
            elif name == "[stack]":
                pages = min(_STACK_IN_USE * space.page_size, vma.end - vma.start)
                yield vma.end - pages, pages

    def _keep_resident(self) -> None:
        """Touch the program's own data, as it is in a process that has begun to run, where it is still mapped."""
        for start, length in self._own:
            self.space.touch(start, length, _WRITE)
            with suppress(MemoryFault):
                self.space.raise_stop()

    def is_own_data(self, address: int) -> bool:
        """Whether the address lies in the data that is kept resident."""
        return any(start <= address < start + length for start, length in self._own)

    # How a call is made.

    def _do(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Make one call: count its faults, note errno, and end the process if that is what it came to."""
        if self._ended is not None:
            raise UserError(f"process {self.pid} has ended: {self._ended}")
        space, libc = self.space, self.libc
        if libc.tid != self._thread:
            libc.switch_thread(self._thread)
        minor, major = space.min_flt, space.maj_flt
        libc.errno = 0
        observation = Observation(self.machine) if self.machine.observers else None
        try:
            if space.stop_signal == _SIGKILL:  # while another process ran
                self._look_for_death()
            result = call(*arguments)
            self._look_for_death()
        except Killed as death:
            self._die(death)
            raise
        finally:
            self.minflt, self.majflt = space.min_flt - minor, space.maj_flt - major
            self.errno = libc.errno
            if observation is not None:
                observation.end()
        return result

    def _look_for_death(self) -> None:
        if self.libc.dead:
            raise Aborted(self.libc.abort)
        if self.space.stop_signal == _SIGKILL:
            raise self._killed()
        self.space.raise_stop()

    def _killed(self) -> OutOfMemoryKilled:
        kills = [kill for kill in self.machine.kernel.oom_kills if kill.space == self.space.number]
        return OutOfMemoryKilled(str(kills[-1]) if kills else f"no frame is free for process {self.pid}")

    @property
    def ended(self) -> Killed | None:
        """None, or what the process died of; of one that the OOM killer took while another ran, at once."""
        if self._ended is None and self.space.stop_signal == _SIGKILL:
            return self._killed()
        return self._ended

    def _die(self, death: Killed) -> None:
        """The process is gone: its memory goes back to the machine."""
        self._ended = death
        self.space.release_all()
        self.machine.processes.pop(self.pid, None)

    def _leave(self, death: Exited) -> NoReturn:
        errno = self.errno
        try:
            self._do(_raise, death)
        finally:
            self.errno = errno
        raise death

    # The program's own accesses.

    def read(self, address: int, length: int) -> bytes:
        """`length` bytes at `address`. SegmentationFault, BusError."""
        found: bytes = self._do(self.space.read, integer(address) & WORD, _bounded(length))
        return found

    def write(self, address: int, data: bytes) -> None:
        """Store `data` at `address`, upwards; what lies before an illegal page is stored.

        SegmentationFault, BusError.
        """
        _bounded(len(data))
        self._do(self.space.write, integer(address) & WORD, bytes(data))

    def memset(self, address: int, value: int, length: int) -> None:
        """memset(3) of `length` bytes. SegmentationFault, BusError."""
        self.write(address, bytes([integer(value) & 255]) * _bounded(length))

    def memcpy(self, to: int, source: int, length: int) -> None:
        """memcpy(3) of `length` bytes. SegmentationFault, BusError."""
        data = self.read(source, length)
        with self._together():
            self.write(to, data)

    def touch(self, address: int, length: int) -> None:
        """A write access to each page of the range; the bytes stay what they are. SegmentationFault, BusError."""
        self._do(self.space.touch, integer(address) & WORD, integer(length) & WORD, _WRITE)

    # The process.

    def fork(self) -> Process:
        """fork(2): the child. OSError(ENOMEM): overcommit mode 2 does not promise its memory."""
        child: Process = self._do(self.machine.fork_of, self)
        for process in (self, child):
            process._keep_resident()
        return child

    def _copy(self, pid: int) -> Process:
        """The child that fork makes, with that pid."""
        space = self.space.fork(_WINDOW_BITS)
        child = Process(self.machine, pid, space, self.libc.fork(space), self.pid)
        child.files = dict(self.files)
        child._thread = child.main_thread = self._thread
        child._own = self._own
        child._forked(self)
        return child

    def exit(self, status: int = 0) -> NoReturn:
        """exit_group(2). Exited is raised, as every call raises what ends the process."""
        self._leave(Exited(status))

    # Looking at it.

    @property
    def rss(self) -> int:
        """Resident bytes, as /proc/PID/statm counts pages."""
        return int(self.space.rss_pages * self.space.page_size)

    def maps(self) -> str:
        """/proc/PID/maps, as the kernel writes it."""
        return maps(self.space)

    def smaps(self) -> str:
        """/proc/PID/smaps: what of each mapping is resident, shared, dirty, swapped, in kB."""
        return smaps(self.space)

    def status(self) -> str:
        """The memory lines of /proc/PID/status, VmPeak to HugetlbPages, in kB."""
        return status(self.space)

    def address_space(self) -> AddressSpaceView:
        """All regions, each with its kind and resident pages."""
        return observe.address_space(self)

    def pages(self, address: int, count: int = 16) -> PagesView:
        """`count` pages from the one that holds `address` on, 65536 at most."""
        return observe.pages(self, integer(address) & WORD, _counted(count))

    def touched_pages(self, most: int = 32) -> PagesView:
        """The pages of heap, mappings and bss that have an entry in the page table, up to `most`."""
        return observe.touched_pages(self, _counted(most))

    def paging(self, address: int, count: int = 64) -> PagingView:
        """`count` pages from the one that holds `address` on, and the swap device: what lies in RAM, what on disk."""
        return observe.paging(self, integer(address) & WORD, _counted(count))

    def word_at(self, address: int, length: int = 8) -> WordView:
        """`length` bytes of one page, as page, word, byte and bit; zeros where nothing is. No access of the program."""
        return observe.word(self, integer(address) & WORD, integer(length))

    def walk(self, address: int) -> WalkView:
        """How the processor translates an address: table by table, entry by entry."""
        return observe.walk(self, integer(address) & WORD)

    def heap(self, labels: Mapping[int, str] | None = None) -> HeapView:
        """The main heap, chunk by chunk, with its free lists. labels: names for pointers."""
        return heapview.heap(self, labels)

    def heaps(self, labels: Mapping[int, str] | None = None) -> tuple[HeapView, ...]:
        """All heaps: the main arena's, and those of threads' arenas."""
        return heapview.heaps(self, labels)

    def explain(self, address: int, language: str = "en") -> str:
        """What lies at an address, and why: its region, page, frame, chunk and free list, each in a sentence.

        language: "en" or "ko". UserError: another one.
        """
        return explain.explain(self, integer(address) & WORD, language)

    @property
    def messages(self) -> tuple[str, ...]:
        """What glibc has printed to stderr without ending the process: under MALLOC_CHECK_ as up to 2.25."""
        return tuple(self.libc.messages) if isinstance(self.libc, CheckedMalloc) else ()

    def mapped_frames(self) -> Iterator[tuple[int, int]]:
        """(address, frame) of every present page, from low to high."""
        shift = self.space.page_shift
        for start, entry, size in self.space.pages.entries():
            if entry & 1:
                for address in range(start, start + size, 1 << shift):
                    yield address, (entry >> shift) + ((address - start) >> shift)

    def __repr__(self) -> str:
        state = f"ended: {self.ended}" if self.ended else f"{self.space.rss_pages} pages resident"
        return f"<Process {self.pid}: {state}>"

    def _repr_svg_(self) -> str:
        return self.address_space().svg()

    def _repr_html_(self) -> str:
        return self.address_space()._repr_html_()

    def __rich__(self) -> RenderableType:
        return self.address_space().__rich__()


def _raise(death: Exited) -> None:
    raise death


def _counted(pages: Any) -> int:
    if not isinstance(pages, int) or not 1 <= pages <= MAX_PAGES:
        raise UserError(f"{pages!r} pages: from 1 to {MAX_PAGES} at once")
    return pages


def _bounded(length: Any) -> int:
    if not isinstance(length, int) or not 0 <= length <= MAX_AT_ONCE:
        raise UserError(f"{length!r} bytes: from 0 to {MAX_AT_ONCE} at once")
    return length
