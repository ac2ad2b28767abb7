# SPDX-License-Identifier: LGPL-2.1-or-later
"""Machine: what all processes share. RAM in frames, the zero page, the kernel's profile."""

from __future__ import annotations

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

    def new_anon(self) -> AnonVma:
        """A new owner of anonymous pages."""
        return AnonVma(self.frames)

    def label_file(self, label: str) -> str:
        """What stands for the file that a recorded mapping names: the same object for the same name."""
        return self._labelled.setdefault(label, label)
