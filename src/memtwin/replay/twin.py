# SPDX-License-Identifier: LGPL-2.1-or-later
"""Twin: the twin of one recorded process image: its address space, C library, player and foreign mappings.

An image that begins a process or an exec has a twin of its own making (`Twin.begin`); a fork child's continues its
parent's (`fork`), copy on write and all.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, NamedTuple

from memtwin.errors import UserError
from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.machine import Machine
from memtwin.kernel.profile import PROFILES, KernelProfile
from memtwin.libc.malloc import Malloc
from memtwin.libc.release import find_release, nearest_release
from memtwin.libc.tunables import tunables_of
from memtwin.replay.mappings import Mappings, Spans
from memtwin.replay.player import Player
from memtwin.replay.timeline import TimeLine

if TYPE_CHECKING:
    from memtwin.replay.mappings import Correction
    from memtwin.trace.header import Header
    from memtwin.trace.reader import MapsSnapshot

MAIN_ARENA, MP = 0xC60, 0x340  # in the library's writable mapping; only which pages they dirty depends on it
_WRITE = 2  # an access, memory.py
_SPARE = 0x10000  # for main_arena where no library is mapped: below everything, where it is in nobody's way
_POOL_BYTES = 32 << 30  # of reserved huge pages at most; the machine has 64 GiB of RAM
_RAM = 64 << 30  # bytes, at least, of the twin's machine
_HOST_BYTES_A_PAGE = 40  # what a page of the twin takes here, measured
_FORKED_WINDOW_BITS = 40  # many children may be alive at a time


class Options(NamedTuple):
    """How to replay: `settings` in place of what the program had; `glibc` in place of the recorded release.

    nearest: a recorded release that is not modelled stands for the nearest that is.
    """

    settings: Mapping[str, int] = {}
    glibc: str = ""
    nearest: bool = False

    def release(self, header: Header) -> str:
        """The release that a process is replayed with."""
        return self.glibc or (nearest_release(header.glibc) if self.nearest else header.glibc)

    @property
    def what_if(self) -> bool:
        """Whether addresses other than the recorded ones are to be expected."""
        return bool(self.settings or self.glibc)


def profile_for(header: Header) -> KernelProfile:
    """The kernel profile nearest to the recorded kernel: the latest that is not newer, else the oldest.

    Page size and transparent huge pages are as they were on the recorded machine.
    """
    release = tuple(int(part) for part in header.kernel.split("-")[0].split(".")[:2] if part.isdigit())
    same = [one for one in PROFILES.values() if (one.architecture, one.levels) == ("x86_64", 4)]
    known = [one for one in same if one.release <= release]
    chosen = max(known, key=lambda one: one.release) if known else min(same, key=lambda one: one.release)
    if header.page_size != chosen.page_size:
        chosen = chosen.with_page_size(header.page_size)
    return replace(chosen, thp=header.huge_pages or chosen.thp)


def pool_for(header: Header, profile: KernelProfile) -> dict[int | str, int]:
    """The reserved huge pages that were free on the recorded machine when the trace began, by their size in bytes; of
    a larger pool as many as the twin's machine has room for."""
    room = _POOL_BYTES // max(len(profile.huge_sizes), 1)
    free = {int(size): count for size, count in header.free_huge_pages.items()}
    return {size: min(free.get(size, 0), room // size) for size in profile.huge_sizes}


def _check_known(release: str) -> None:
    """UserError: the recorded release is not modelled; it says what may be done."""
    try:
        find_release(release)
    except UserError as error:
        raise UserError(f"{error}: --glibc nearest takes the nearest") from None


def ram_for(header: Header, page_size: int) -> int:
    """RAM of the twin's machine, bytes: four times what was resident, if a quarter of this machine's bears that."""
    here = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4 // _HOST_BYTES_A_PAGE * page_size
    return max(_RAM, min(4 * header.peak_rss_bytes, here) & -page_size)


class Twin:
    """The parts of one image's twin.

    hidden, first_faults: system calls and faults that the replay made on its own account. initial: tid of the thread
    that the program began in; 0 in the child of another one.
    """

    def __init__(self, player: Player, mappings: Mappings, malloc: Malloc) -> None:
        self.player = player
        self.mappings = mappings
        self.malloc = malloc
        self.space: AddressSpace = mappings.space
        self.hidden: Counter[str] = Counter()
        self.first_faults = self.initial = 0

    @classmethod
    def begin(
        cls,
        header: Header,
        snapshot: MapsSnapshot | None,
        options: Options,
        corrections: dict[int, Correction] | None = None,
    ) -> Twin:
        """A process before its first event, laid out as the snapshot says. UserError: an unknown glibc or setting."""
        profile = profile_for(header)
        # what the real machine promised and gave, the twin's gives; what it refused, Player.limit_call refuses
        ram = ram_for(header, profile.page_size)
        space = AddressSpace(Machine(ram, profile=profile, overcommit=1, huge_pages=pool_for(header, profile)))
        mappings = Mappings(space, corrections)
        mappings.begin(header, snapshot)
        library = library_data(header, snapshot, mappings)
        release = options.release(header)
        if release == header.glibc:
            _check_known(release)
        malloc = Malloc(
            space,
            release,
            {**tunables_of(header.environment), **options.settings},
            cpus=find_release(release).processors(header.cpus, header.cpus_online or header.cpus),
            main_arena=library + MAIN_ARENA,
            mp=library + MP,
        )
        player = Player(malloc, space, TimeLine(header.events))
        player.what_if = options.what_if
        twin = cls(player, mappings, malloc)
        twin.initial = header.pid
        twin.keep_library()
        twin.hidden.update(space.call_counts)
        return twin

    def fork(self, pid: int, events: int, corrections: dict[int, Correction] | None = None) -> Twin:
        """The twin of a child that was forked now by the current thread, for `events` events of its own."""
        space = self.space.fork(_FORKED_WINDOW_BITS)
        malloc = self.malloc.fork(space)
        player = self.player.fork(malloc, space, TimeLine(events))
        child = Twin(player, self.mappings.fork(space, corrections), malloc)
        child.hidden.update(space.call_counts)
        child.first_faults = int(space.min_flt)
        child.initial = pid if self.player.tid == self.initial else 0
        return child

    def thread_exit(self, tid: int) -> None:
        """A thread ends. The initial one, by pthread_exit, does without the C library's own cleaning up: it has no
        start_thread to return to (csu/libc_start_call_main.h), and so keeps its cache and its arena."""
        if tid != self.initial:
            self.malloc.thread_exit(tid)

    def move_break(self, increment: int, recorded: int = 0) -> None:
        """The program moves the break by itself, which was at `recorded` (0: where the twin has it)."""
        old = self.malloc.program_sbrk(increment)
        if old:
            self.mappings.break_moved(recorded or old, old, self.space.brk_end)

    def end(self) -> None:
        """The process is gone; its frames go back to the machine that relatives may share."""
        self.space.release_all()

    def system_calls(self) -> Counter[str]:
        """What the allocator has asked of the kernel, by name."""
        return Counter(self.space.call_counts) - self.hidden

    def owned(self) -> Spans:
        """What is mapped for the allocator, by address."""
        return self.mappings.owned()

    def resident(self, start: int, end: int) -> int:
        """Resident bytes of [start, end)."""
        return int(self.space.resident_pages(start, end) * self.space.page_size)

    def keep_library(self) -> None:
        """The C library's data is in RAM from the start: the loader has written to it."""
        page = self.malloc.main_arena & -self.space.page_size
        self.space.touch(page, 2 * self.space.page_size, _WRITE)
        self.first_faults = int(self.space.min_flt)

    def library_bytes(self) -> int:
        """Resident bytes that the twin has in the C library's data, which is no memory of the allocator's."""
        page = self.malloc.main_arena & -self.space.page_size
        return self.resident(page, page + 2 * self.space.page_size)

    def faults(self) -> int:
        """Minor faults of the program and its allocator."""
        return int(self.space.min_flt) - self.first_faults

    def heap_bytes(self) -> int:
        """Resident bytes between the heap's start and the break."""
        page = self.space.page_size
        return self.resident(self.space.brk_start & -page, (self.space.brk_end + page - 1) & -page)

    def allocator_bytes(self) -> int:
        """Resident bytes of the allocator's memory."""
        return int(self.space.anon_pages * self.space.page_size) - self.library_bytes()


def library_data(header: Header, snapshot: MapsSnapshot | None, mappings: Mappings) -> int:
    """Where the C library has its writable data; pages of the twin's own when the snapshot does not say."""
    room = 2 * mappings.space.page_size
    name = PurePath(header.libc_path).name  # /lib may be a link to /usr/lib
    for vma in snapshot.vmas if snapshot and name else ():
        if PurePath(vma.path).name == name and vma.permissions.startswith("rw") and vma.end - vma.start >= room:
            return vma.start
    mappings.add(_SPARE, _SPARE + room, "[libc data]")
    return _SPARE
