# SPDX-License-Identifier: LGPL-2.1-or-later
"""Machine: what all processes share. RAM in frames, swap, the zero page, the kernel's profile."""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from memtwin.errors import UserError
from memtwin.kernel.files import File, Inode
from memtwin.kernel.flags import EINVAL, FILE_CLOSED, FILE_ZERO
from memtwin.kernel.frames import Frames
from memtwin.kernel.group import Group
from memtwin.kernel.hugepool import HugePool
from memtwin.kernel.observe import Observers
from memtwin.kernel.oom import OomKill, choose, kill
from memtwin.kernel.overcommit import Overcommit
from memtwin.kernel.profile import KernelProfile, profile_named
from memtwin.kernel.reclaim import Reclaim
from memtwin.kernel.swap import Swap
from memtwin.kernel.vma import AnonVma
from memtwin.units import GIB, parse_size

if TYPE_CHECKING:
    from memtwin.kernel.mm import Mm


class Machine:
    """A machine with `ram` bytes of RAM ("16 GiB" will do) and `swap` bytes of swap, run by a kernel of `profile`.

    page_size, where given, replaces the profile's. policy: which page goes when memory is short, a name of
    kernel/policies; seed: of a policy that draws. overcommit, where given, replaces the profile's: as
    /proc/sys/vm/overcommit_memory has it, 0, 1 or 2. huge_pages: how many are reserved for MAP_HUGETLB, as
    /proc/sys/vm/nr_hugepages has it, or by size ({"2 MiB": 16, "1 GiB": 1}, as /sys/kernel/mm/hugepages).
    UserError: sizes that make no machine, more huge pages than its RAM holds, or an unknown profile or policy.

    huge_pools: the HugePool of each size that the profile has, by bytes.
    """

    def __init__(
        self,
        ram: int | str = 64 * GIB,
        swap: int | str = 0,
        page_size: int | None = None,
        profile: KernelProfile | str = "linux-6.18-x86_64",
        policy: str = "two-list",
        seed: int = 1,
        overcommit: int | None = None,
        huge_pages: int | Mapping[int | str, int] = 0,
    ) -> None:
        chosen = profile if isinstance(profile, KernelProfile) else profile_named(profile)
        if page_size is not None and page_size != chosen.page_size:
            chosen = chosen.with_page_size(page_size)
        self.profile = chosen
        self.ram = parse_size(ram)
        self.swap = parse_size(swap)
        self.frames = Frames(self.ram, chosen.page_shift)
        self.observers = Observers(self.frames)
        self.zero_pfn = self.frames.alloc_frame()
        self.swap_area = self.frames.swap_area = Swap(self.frames, self.swap)
        self.spaces: WeakValueDictionary[int, Mm] = WeakValueDictionary()
        self.born_spaces = 0
        self.oom_kills: list[OomKill] = []
        mode = chosen.overcommit_memory if overcommit is None else overcommit
        self.overcommit = Overcommit(self.frames, self.swap_area, mode)
        self.overcommit.set_by(chosen)
        self.reclaim = Reclaim(self, policy, seed)
        self.root_group = self.frames.root = self.reclaim.new_group("")
        self.frames.watch = self.root_group.policy.watches
        if self.frames.watch:
            self.reclaim.start()
        self.huge_pools = self._reserve(huge_pages)
        self._labelled: dict[str, str] = {}
        self._host_inodes: dict[tuple[int, int, int], Inode] = {}
        self._inodes = 0
        self.dev_zero = File(None, "/dev/zero", kind=FILE_ZERO, identity="00:05 4")
        self.closed = File(None, "", kind=FILE_CLOSED)

    def _reserve(self, wanted: int | Mapping[int | str, int]) -> dict[int, HugePool]:
        """The pools of reserved huge pages; the largest pages are taken first, while RAM is in one piece."""
        sizes = self.profile.huge_sizes
        counts = dict(wanted) if isinstance(wanted, Mapping) else {self.profile.huge_size: wanted}
        by_size: dict[int, int] = {}
        for name, count in counts.items():
            size = parse_size(name)
            if size not in sizes:
                known = ", ".join(f"{size >> 10} KiB" for size in sizes)
                raise UserError(f"huge_pages: there are none of {name}: profile {self.profile.name} has {known}")
            if not isinstance(count, int) or isinstance(count, bool) or count < 0:
                raise UserError(f"huge_pages {count!r}: it is how many are reserved, 0 or more")
            by_size[size] = count
        pools = {size: HugePool(self.frames, size, by_size.get(size, 0)) for size in sorted(sizes, reverse=True)}
        return dict(sorted(pools.items()))

    def huge_pool(self, shift: int) -> HugePool | None:
        """The pool of pages of 2**shift bytes, of the usual size where 0; None when there are no such pages."""
        return self.huge_pools.get(1 << shift if shift else self.profile.huge_size)

    def huge_identity(self) -> str:
        """Device and inode, as maps shows them, of a new file of reserved huge pages."""
        return f"00:11 {self.next_inode()}"

    def new_anon(self) -> AnonVma:
        """A new owner of anonymous pages."""
        return AnonVma(self.frames)

    def label_file(self, label: str) -> str:
        """What stands for the file that a recorded mapping names: the same object for the same name."""
        return self._labelled.setdefault(label, label)

    def next_inode(self) -> int:
        """A number for a new file."""
        self._inodes += 1
        return self._inodes

    def memfd(self, size: int, path: str, identity: str | None = None) -> File:
        """A file in memory of `size` bytes, open for reading and writing (memfd_create); path: its name in maps."""
        return File(Inode(self.frames, size, identity or f"00:01 {self.next_inode()}"), path)

    def disk_file(self, content: bytes, path: str, identity: str | None = None, cached: bool = True) -> File:
        """A file on disk, open for reading and writing; cached: all its pages are in the page cache already."""
        identity = identity or f"08:01 {self.next_inode()}"
        return File(Inode(self.frames, len(content), identity, False, content, cached), path)

    def host_file(self, path: str) -> File:
        """A file of the host, open for reading, its pages in the page cache; what it holds is read page by page.

        OSError when the host cannot open it. Opened again, it has the same pages.
        """
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            inode = self._host_inodes.get((status.st_dev, status.st_ino, status.st_mtime_ns))
            if inode is None:
                content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if status.st_size else b""
                identity = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x} {status.st_ino}"
                inode = Inode(self.frames, status.st_size, identity, False, content, True)
                self._host_inodes[status.st_dev, status.st_ino, status.st_mtime_ns] = inode
        return File(inode, os.path.realpath(path), writable=False)

    def truncate(self, inode: Inode, length: int) -> int:
        """ftruncate(2): 0, or -EINVAL for a negative length."""
        if length < 0:
            return -EINVAL
        inode.resize(length)
        return 0

    def register(self, mm: Mm) -> int:
        """A new address space of this machine: its number, from 1."""
        self.born_spaces += 1
        self.spaces[self.born_spaces] = mm
        return self.born_spaces

    def new_group(self, name: str, limit: int | str) -> Group:
        """A group of processes that may use `limit` bytes of RAM together (memory.limit_in_bytes, memory.max).

        A space joins by `space.join(group)`; pages it brought in before stay charged elsewhere.
        """
        return self.reclaim.new_group(name, parse_size(limit) >> self.profile.page_shift)

    def kill_for_memory(self, group: Group | None) -> Mm | None:
        """The OOM killer: end the worst space of the group (of the machine where None); None when there is none left.

        Its memory is free afterwards; the space is stopped by SIGKILL. What was done is noted in `oom_kills`.
        """
        spaces = [space for _, space in sorted(self.spaces.items())]
        total = self.frames.total + self.swap_area.total if group is None else group.limit
        victim = choose([space for space in spaces if group is None or space.group is group], total)
        if victim is not None:
            self.oom_kills.append(kill(victim, total))
        return victim
