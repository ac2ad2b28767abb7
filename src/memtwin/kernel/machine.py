# SPDX-License-Identifier: LGPL-2.1-or-later
"""Machine: what all processes share. RAM in frames, the zero page, the kernel's profile."""

from __future__ import annotations

from memtwin.kernel.files import File, Inode
from memtwin.kernel.flags import EINVAL, FILE_CLOSED, FILE_ZERO
from memtwin.kernel.frames import Frames
from memtwin.kernel.profile import KernelProfile, profile_named
from memtwin.kernel.vma import AnonVma
from memtwin.units import GIB, parse_size


class Machine:
    """A machine with `ram` bytes of RAM ("16 GiB" will do) and `swap` bytes of swap, run by a kernel of `profile`.

    page_size, where given, replaces the profile's. UserError: sizes that make no machine, or an unknown profile.
    """

    def __init__(
        self,
        ram: int | str = 64 * GIB,
        swap: int | str = 0,
        page_size: int | None = None,
        profile: KernelProfile | str = "linux-6.18-x86_64",
    ) -> None:
        chosen = profile_named(profile) if isinstance(profile, str) else profile
        if page_size is not None and page_size != chosen.page_size:
            chosen = chosen.with_page_size(page_size)
        self.profile = chosen
        self.ram = parse_size(ram)
        self.swap = parse_size(swap)
        self.frames = Frames(self.ram, chosen.page_shift)
        self.zero_pfn = self.frames.alloc_frame()
        self._labelled: dict[str, str] = {}
        self._inodes = self._spaces = 0
        self.dev_zero = File(None, "/dev/zero", kind=FILE_ZERO, identity="00:05 4")
        self.closed = File(None, "", kind=FILE_CLOSED)

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

    def next_space(self) -> int:
        """A number for a new address space, from 1."""
        self._spaces += 1
        return self._spaces

    def memfd(self, size: int, path: str, identity: str | None = None) -> File:
        """A file in memory of `size` bytes, open for reading and writing (memfd_create); path: its name in maps."""
        return File(Inode(self.frames, size, identity or f"00:01 {self.next_inode()}"), path)

    def disk_file(self, content: bytes, path: str, identity: str | None = None, cached: bool = True) -> File:
        """A file on disk, open for reading and writing; cached: all its pages are in the page cache already."""
        identity = identity or f"08:01 {self.next_inode()}"
        return File(Inode(self.frames, len(content), identity, False, content, cached), path)

    def truncate(self, inode: Inode, length: int) -> int:
        """ftruncate(2): 0, or -EINVAL for a negative length."""
        if length < 0:
            return -EINVAL
        inode.resize(length)
        return 0
