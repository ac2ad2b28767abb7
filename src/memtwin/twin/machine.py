# SPDX-License-Identifier: LGPL-2.1-or-later
"""Machine: RAM, swap and the processes that run on it. The door to the twin for Python programs.

>>> from memtwin import Machine
>>> machine = Machine(ram="64 MiB", swap="128 MiB", page_size=4096)
>>> p = machine.spawn()
>>> hex(p.malloc(100))
'0x555555559010'
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from memtwin.errors import UserError
from memtwin.kernel.machine import Machine as KernelMachine
from memtwin.kernel.profile import KernelProfile
from memtwin.languages import checked
from memtwin.libc.release import DEFAULT, ILP32_RELEASES, find_release
from memtwin.twin.ldso import Command
from memtwin.twin.observe import pages_in, swapped_pages
from memtwin.twin.process import Library, Process
from memtwin.twin.program import Image
from memtwin.twin.smallprogram import small_program, small_program_32
from memtwin.views import BuddyView, Event, Frame, FramesView, SwapView

if TYPE_CHECKING:
    from rich.console import RenderableType

MAX_CPUS = 8192  # of an x86-64 Linux
MAX_PROCESSES = 4096


class Machine:
    """A machine of the twin.

    ram, swap: bytes, or text such as "64 MiB". page_size: 4096, 8192, 16384 or 65536 bytes; the profile's by default.
    profile: a kernel profile or its name. policy: which page goes when memory is short (kernel/policies), "two-list"
    being Linux's; seed: of a policy that draws; overcommit: 0, 1 or 2 as in /proc/sys/vm/overcommit_memory. huge_pages:
    how many huge pages are reserved for mmap with MAP_HUGETLB, as /proc/sys/vm/nr_hugepages has it, or by their size:
    {"2 MiB": 16, "1 GiB": 1}. UserError: sizes that make no machine, more huge pages than its RAM holds, or an unknown
    profile or policy.

    kernel: the machine as the kernel's rooms know it; processes: those that live, by pid; observers: see `observe`;
    calls: how many were observed.
    """

    def __init__(
        self,
        ram: int | str = "1 GiB",
        swap: int | str = 0,
        page_size: int | None = None,
        profile: KernelProfile | str = "linux-6.18-x86_64",
        policy: str = "two-list",
        seed: int = 1,
        overcommit: int | None = None,
        huge_pages: int | Mapping[int | str, int] = 0,
    ) -> None:
        self.kernel = KernelMachine(ram, swap, page_size, profile, policy, seed, overcommit, huge_pages)
        self.processes: dict[int, Process] = {}
        self.observers: list[tuple[Callable[[Event], None], str]] = []
        self.calls = 0
        self._next_pid = 1

    @property
    def page_size(self) -> int:
        """Bytes of a page."""
        return 1 << int(self.kernel.frames.page_shift)

    def spawn(
        self,
        program: str | None = None,
        *,
        glibc: str = "",
        data_model: str = "LP64",
        tunables: Mapping[str, int] | None = None,
        cpus: int = 1,
        malloc_check: int | None = None,
        classic_check: bool = False,
        mcheck: str = "",
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        image: Image | None = None,
    ) -> Process:
        """A new process, at the beginning of its main(): mappings, stack and C library there, the heap empty.

        program: the path of an ELF file, mapped with its libraries as Linux and ld.so do it; by default a small program
        without a file. arguments, environment: of the program; they lie on its stack. glibc: a release such as "2.36";
        by default that of the libc.so.6 that the program is linked with, else the newest that is known. data_model:
        "LP64", or "ILP32" for a 32-bit process on x86-64, of glibc 2.36 and without a program file. tunables: as in
        GLIBC_TUNABLES, without "glibc.malloc.". malloc_check: MALLOC_CHECK_ in the program's environment, 0 to 3; from
        glibc 2.34 on with libc_malloc_debug.so preloaded, without which it would do nothing. classic_check: the value
        means what it did up to glibc 2.25: 0 ignores misuse, 1 prints a message (`Process.messages`), 2 ends, 3 both.
        mcheck: "mcheck" or "mcheck_pedantic", the function of mcheck(3) that the program calls first; with the debug
        library, too.
        cpus: processors, which limit the number of arenas. image: mappings to begin with, in place of the program's.
        UserError: an unknown release, model or tunable, or a file that is no program.
        """
        if not isinstance(cpus, int) or not 1 <= cpus <= MAX_CPUS:
            raise UserError(f"{cpus!r} processors: from 1 to {MAX_CPUS}")
        if glibc:
            find_release(glibc, data_model)
        if data_model != "LP64":
            glibc = glibc or ILP32_RELEASES[-1]
            find_release(glibc, data_model)
            if program is not None:
                raise UserError(f"{program}: only 64-bit programs are mapped: leave the program out for {data_model}")
        start: Image | Command = image or self._small_program(glibc, data_model)
        if program is not None:
            start = Command(program, tuple(arguments), tuple((environment or {}).items()))
        library = Library(glibc, dict(tunables or {}), cpus, malloc_check, data_model, classic_check, mcheck)
        return self.adopt(Process.start(self, self._pid(), start, library))

    def _small_program(self, glibc: str, data_model: str) -> Image:
        if data_model == "ILP32":
            return small_program_32()
        return small_program(self.page_size, self.kernel.profile.task_size, release=glibc or DEFAULT)

    def _pid(self) -> int:
        if len(self.processes) >= MAX_PROCESSES:
            raise UserError(f"{MAX_PROCESSES} processes run already")
        self._next_pid += 1
        return self._next_pid - 1

    def adopt(self, process: Process) -> Process:
        """Count a process as one of this machine."""
        self.processes[process.pid] = process
        return process

    def fork_of(self, parent: Process) -> Process:
        """`Process.fork`: the child gets the next pid."""
        return self.adopt(parent._copy(self._pid()))

    def observe(self, observer: Callable[[Event], None], language: str = "en") -> None:
        """Tell `observer` what each call does from now on: faults, copies, mappings, each in a sentence.

        language: "en" or "ko". UserError: another one.
        """
        self.observers.append((observer, checked(language)))

    def frames(self, first: int = 0, count: int = 512) -> FramesView:
        """The frames from `first` on: what each holds and who maps it."""
        frames = self.kernel.frames
        last = min(first + count, frames.total)
        owners = self._owners(first, last)
        free = frames.free_frames(first, last)
        shown = tuple(self._frame(pfn, owners.get(pfn, ()), pfn in free) for pfn in range(first, last))
        return FramesView(frames.total, frames.free, shown)

    def _owners(self, first: int, last: int) -> dict[int, tuple[tuple[int, int], ...]]:
        owners: dict[int, list[tuple[int, int]]] = {}
        for process in self.processes.values():
            for address, frame in pages_in(process, first, last):
                owners.setdefault(frame, []).append((process.pid, address))
        return {frame: tuple(found) for frame, found in owners.items()}

    def _frame(self, pfn: int, owners: tuple[tuple[int, int], ...], free: bool) -> Frame:
        state = self.kernel.frames.state(pfn)
        return Frame(pfn, self._kind(pfn, state, len(owners), free), owners, state["mapped"])

    def _kind(self, pfn: int, state: dict[str, Any], owners: int, free: bool) -> str:
        if free:
            return "free"
        if pfn == self.kernel.zero_pfn:
            return "zero"
        if owners > 1:
            return "shared"
        flags = state["flags"]
        return "anonymous" if flags & 1 else "file" if flags & 2 else "table" if flags & 4 else "kernel"

    def buddy(self) -> BuddyView:
        """The free blocks of the buddy allocator, by order."""
        frames = self.kernel.frames
        return BuddyView(frames.total, tuple(tuple(blocks) for blocks in frames.blocks_by_order()))

    def swap(self) -> SwapView:
        """The slots of the swap device, and whose page lies in each, as the page tables say."""
        owners: dict[int, tuple[int, int]] = {}
        for process in self.processes.values():
            owners |= {slot: (process.pid, address) for address, slot in swapped_pages(process)}
        slots = max(self.kernel.swap // self.page_size, max(owners, default=-1) + 1)
        return SwapView(tuple(owners.get(slot) for slot in range(slots)))

    def __repr__(self) -> str:
        frames = self.kernel.frames
        return (
            f"<Machine {frames.total - frames.free} of {frames.total} frames in use, {len(self.processes)} processes>"
        )

    def _repr_svg_(self) -> str:
        return self.frames().svg()

    def _repr_html_(self) -> str:
        return self.frames()._repr_html_()

    def __rich__(self) -> RenderableType:
        return self.frames().__rich__()
