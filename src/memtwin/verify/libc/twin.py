# SPDX-License-Identifier: LGPL-2.1-or-later
"""The twin's part in a comparison: a column performed on libc.Malloc in an address space like the player's.

What is taken from the real process, because nothing determines it: its mappings before the first operation, where the
heap begins, where the C library has main_arena and mp_ and what stands in main_arena then, the random tcache_key, and
which calls the library made of itself (pthread_create's table of thread-local blocks). What those calls gave is
compared like all else.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from memtwin.host.player import ENTRY, HIDDEN, MapsLine, Play, Player
from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.flags import VM_HUGETLB
from memtwin.kernel.hostprofile import names_mappings
from memtwin.kernel.machine import Machine
from memtwin.kernel.profile import KernelProfile
from memtwin.kernel.status import pagemap
from memtwin.libc.malloc import Malloc
from memtwin.libc.parameters import write_mp
from memtwin.libc.release import find_release
from memtwin.libc.tunables import tunables_of
from memtwin.trace.schema import Op
from memtwin.verify.golden import profile
from memtwin.verify.host import host_pool
from memtwin.verify.libc.performing import Performer

PAGE = 4096
_PROT = {"r": 1, "w": 2, "x": 4}
_FAILED = 2**64 - 1
_EINVAL = 22
_LIMITS = {2: "data_limit", 9: "as_limit"}  # RLIMIT_DATA, RLIMIT_AS
_TASK_TOP_GAP = 128 << 20  # without randomisation, with a stack limit under 128 MiB (arch/x86/mm/mmap.c: mmap_base)


@dataclass
class _Fork:
    """A parent that waits for its child: where the child's operations end, and what goes on then."""

    end: int
    at: int
    malloc: Malloc
    space: AddressSpace
    slots: npt.NDArray[Any]


class LibcTwin:
    """See compare.Twin. Made of a player that stands before its first operation."""

    def __init__(self, player: Player, environment: Mapping[str, str]) -> None:
        self._player = player
        self._column = player.operations
        self.entries = np.zeros(len(self._column), ENTRY)
        space = space_like(player)
        malloc = Malloc(
            space,
            player.libc.release,
            tunables_of(environment, player.libc.release),
            data_model=player.libc.data_model,
            cpus=processors(player.libc.release),
            main_arena=player.main_arena(),
            mp=player.mp(),
        )
        self._performer = Performer(malloc, space, self._column, self.entries, player.slots, player.libc.word)
        self._done = 0
        self._forks: list[_Fork] = []
        self._hidden = np.zeros(0, HIDDEN)
        self._values: list[int] = []
        self._text: list[str] = []
        self._base_vm = space.total_vm
        self._ending: str | None = None

    @property
    def malloc(self) -> Malloc:
        """The allocator of the process that goes on now."""
        return self._performer.malloc

    @property
    def space(self) -> AddressSpace:
        """Its memory."""
        return self._performer.space

    # ---- playing ----

    def play(self, until: int) -> None:
        """See Twin."""
        key = self._player.tcache_key() if self.malloc.random_tcache_key else 0
        if key:
            self.malloc.tcache_key = key
        while self._done < until and self._ending is None:
            self._end_forks()
            stop = min(until, self._forks[-1].end) if self._forks else until
            self._done = self._performer.perform(self._done, stop)
            if self._died():
                continue
            if self._done < stop:
                self._perform(self._done)
                if not self._died():
                    self._done += 1
        if self._done == len(self._column) and self._player.ending and self._ending is None:
            self._ending = "exit status 0"

    def _died(self) -> bool:
        """Note how the process was killed, if it was: the first one for good, a child with its parent going on."""
        if not self.malloc.dead and not self.space.stop_signal:
            return False
        number = 6 if self.malloc.dead else self.space.stop_signal
        if self._forks:
            self._return_to_parent(number)
        else:
            message = self.malloc.abort if self.malloc.dead else ""
            self._ending = f"killed by {signal.Signals(number).name}: {message}"
        return True

    def _end_forks(self) -> None:
        while self._forks and self._done >= self._forks[-1].end:
            self._return_to_parent(0)

    def _return_to_parent(self, status: int) -> None:
        fork = self._forks.pop()
        self._performer.malloc, self._performer.space = fork.malloc, fork.space
        self._performer.set_slots(fork.slots)
        self.entries[fork.at] = (status, 0, 0)
        self._done = fork.end

    def _perform(self, at: int) -> None:
        """An operation that is no plain allocator call."""
        operation = self._column[at]
        op = int(operation["op"])
        self.malloc.switch_thread(int(operation["thread"]))
        self.malloc.errno = 0
        result = _OTHER[op](self, at, operation) if op in _OTHER else 0
        if op not in (Op.FORK, Op.THREAD_EXIT, Play.STOP):
            self.entries[at] = (result & _FAILED, self.malloc.errno, 0)

    def _keep(self, operation: Any, value: int) -> None:
        self._performer.slots[operation["slot"]] = value

    def _pointer(self, operation: Any) -> int:
        return int(self._performer.slots[operation["slot"]])

    def _system_call(self, result: int) -> int:
        """A system call's result as the library returns it."""
        if -4096 < result < 0:
            self.malloc.errno = -result
            return self._performer.word_mask
        return result

    def _mmap(self, at: int, operation: Any) -> int:
        argument = int(operation["argument"])
        length, flags = int(operation["size"]), argument & 0xFFFFFFFF
        made = self._system_call(self.space.sys_mmap(0, length, argument >> 32, flags, None, 0))
        if made != self._performer.word_mask:
            self._keep(operation, made)
        return made

    def _munmap(self, at: int, operation: Any) -> int:
        start = self._pointer(operation) + int(operation["argument"])
        return self._system_call(self.space.sys_munmap(start, int(operation["size"])))

    def _sbrk(self, at: int, operation: Any) -> int:
        increment = int(operation["size"].astype(np.int64))
        made = self.malloc.program_sbrk(increment) or self._performer.word_mask
        if made != self._performer.word_mask:
            self._keep(operation, made)
        return made

    def _fork(self, at: int, operation: Any) -> int:
        performer = self._performer
        parent = _Fork(at + 1 + int(operation["size"]), at, self.malloc, self.space, performer.slots)
        child = self.space.fork()
        performer.malloc, performer.space = self.malloc.fork(child), child
        performer.set_slots(parent.slots.copy())
        self._forks.append(parent)
        return 0

    # ---- threads, and what the library calls of itself ----

    def _thread_start(self, at: int, operation: Any) -> int:
        self.malloc.thread_start(int(operation["argument"]))
        self._play_hidden(at, int(operation["thread"]), True)
        return 0

    def _thread_exit(self, at: int, operation: Any) -> int:
        thread = int(operation["thread"])
        self._play_hidden(at, thread, True)
        self.malloc.thread_exit(thread)
        self._play_hidden(at, thread, False)
        return 0

    def _play_hidden(self, at: int, thread: int, by_it: bool) -> None:
        """The calls that the library made of itself during operation `at`, by that thread or by the others."""
        rows = self._player.hidden[len(self._hidden) :]
        for row in rows[(rows["at"] == at) & ((rows["thread"] == thread) == by_it)]:
            self.malloc.switch_thread(int(row["thread"]))
            done = row.copy()
            done["result"] = self._hidden_call(row)
            self._hidden = np.append(self._hidden, done)

    def _hidden_call(self, row: Any) -> int:
        op, size = int(row["op"]), int(row["size"])
        if op == Op.MALLOC:
            return int(self.malloc.malloc(size))
        if op == Op.CALLOC:
            return int(self.malloc.calloc(size, int(row["argument"])))
        if op == Op.REALLOC:
            return int(self.malloc.realloc(int(row["pointer"]), size))
        if op == Op.FREE:
            self.malloc.free(int(row["pointer"]))
        else:  # POKE: the library has written into its block
            word = int(row["argument"]).to_bytes(self._player.libc.word, "little")
            self.space.write(int(row["pointer"]) + size, word)
        return 0

    def hidden(self) -> npt.NDArray[Any]:
        """See Twin."""
        return self._hidden

    # ---- limits, statistics ----

    def _limit(self, at: int, operation: Any) -> int:
        headroom = int(operation["argument"])
        base = self._base_vm * PAGE
        name = _LIMITS[int(operation["size"])]
        setattr(self.space, name, _FAILED if headroom == _FAILED else base + headroom)
        return 0

    def _mallinfo(self, at: int, operation: Any) -> int:
        wide = int(operation["op"]) == Play.MALLINFO2
        info = self.malloc.mallinfo2() if wide else self.malloc.mallinfo()
        mask = _FAILED if wide else 0xFFFFFFFF
        self._values += [value & mask for value in info.values()]
        return len(self._values) - len(info)

    def _malloc_stats(self, at: int, operation: Any) -> int:
        self._text.append(self.malloc.malloc_stats())
        return 0

    def _malloc_info(self, at: int, operation: Any) -> int:
        options = int(operation["argument"])
        self._text.append(self.malloc.malloc_info(options))
        return _EINVAL if options else 0

    def ending(self) -> str | None:
        """See Twin."""
        return self._ending

    def values(self) -> npt.NDArray[Any]:
        """See Twin."""
        return np.array(self._values, np.uint64)

    def text(self) -> str:
        """See Twin."""
        return "".join(self._text)

    # ---- looking ----

    def areas(self) -> list[tuple[int, int, str]]:
        """See Twin."""
        found = []
        for vma in self.space.vmas():
            letters = "".join(letter if vma.flags & bit else "-" for letter, bit in _PROT.items())
            found.append((vma.start, vma.end, letters + ("s" if vma.flags & 0x80 else "p")))
        return found

    def resident(self, start: int, end: int) -> npt.NDArray[np.bool_]:
        """See Twin."""
        pages = np.zeros((end - start) // PAGE, np.bool_)
        self._mark_resident(pages, start, 0, len(pages))
        for vma in self.space.vmas():
            if vma.flags & VM_HUGETLB and vma.start < end and vma.end > start:
                first, last = (max(vma.start, start) - start) // PAGE, (min(vma.end, end) - start) // PAGE
                entries = np.frombuffer(pagemap(self.space, start + first * PAGE, last - first), np.uint64)
                pages[first:last] = entries >> np.uint64(63) != 0
        return pages

    def _mark_resident(self, pages: npt.NDArray[np.bool_], start: int, first: int, last: int) -> None:
        count = self.space.resident_pages(start + first * PAGE, start + last * PAGE)
        if count in (0, last - first):
            pages[first:last] = count > 0
            return
        middle = (first + last) // 2
        self._mark_resident(pages, start, first, middle)
        self._mark_resident(pages, start, middle, last)

    def memory(self, start: int, end: int) -> npt.NDArray[np.uint8]:
        """See Twin."""
        if start == self.malloc.mp:
            write_mp(self.malloc)
        return np.frombuffer(self.space.read(start, end - start), np.uint8)

    def close(self) -> None:
        """See Twin."""


def processors(release: str) -> int:
    """Processors that count here for a release's limit of arenas."""
    return find_release(release).processors(len(os.sched_getaffinity(0)), os.cpu_count() or 1)


def space_like(player: Player) -> AddressSpace:
    """An address space with the mappings of a player that stands before its first operation, and main_arena's bytes."""
    space = AddressSpace(Machine(profile=_kernel(), huge_pages=host_pool()), 40, player.libc.word == 4)
    space.set_layout(space.task_size - _TASK_TOP_GAP & -PAGE, player.start_brk())
    space.data_bytes = player.data_bytes()
    for line in player.start_maps:
        if line.path not in ("[vsyscall]", "[heap]"):
            _restore(space, line)
    tunables = player.environment.get("GLIBC_TUNABLES")
    if tunables and find_release(player.libc.release).has("tunables_on_heap"):
        space.sys_brk(player.start_brk() + len(f"GLIBC_TUNABLES={tunables}") + 1)
    start = player.main_arena()
    space.write(start, player.memory(start, start + player.state_size()).tobytes())
    return space


def _kernel() -> KernelProfile:
    """The kernel that the twin's process runs on: huge pages and names are given, or not, as they are here."""
    return replace(KernelProfile(), thp=profile()["thp"], names_mappings=names_mappings())


def _restore(space: AddressSpace, line: MapsLine) -> None:
    prot = sum(bit for letter, bit in _PROT.items() if letter in line.permissions)
    flags = 0x21 if line.permissions[3] == "s" else 0x22
    space.restore_vma(line.start, line.end, prot, flags, line.offset, line.path or None)


_OTHER: dict[int, Callable[[LibcTwin, int, Any], int]] = {
    Op.MMAP: LibcTwin._mmap,
    Op.MUNMAP: LibcTwin._munmap,
    Op.SBRK: LibcTwin._sbrk,
    Op.FORK: LibcTwin._fork,
    Op.THREAD_START: LibcTwin._thread_start,
    Op.THREAD_EXIT: LibcTwin._thread_exit,
    Play.LIMIT: LibcTwin._limit,
    Play.MALLINFO: LibcTwin._mallinfo,
    Play.MALLINFO2: LibcTwin._mallinfo,
    Play.MALLOC_STATS: LibcTwin._malloc_stats,
    Play.MALLOC_INFO: LibcTwin._malloc_info,
}
