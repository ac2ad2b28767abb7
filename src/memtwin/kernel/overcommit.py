# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""How much memory may be promised: vm.overcommit_memory (mm/util.c, __vm_enough_memory; proc(5)).

Counted is what VM_ACCOUNT mappings span, whether touched or not; `Frames.committed` is Committed_AS in pages.
"""

from __future__ import annotations

from memtwin.errors import UserError
from memtwin.kernel.frames import Frames
from memtwin.kernel.profile import KernelProfile
from memtwin.kernel.swap import Swap

HEURISTIC, ALWAYS, NEVER = 0, 1, 2


class Overcommit:
    """The machine's rule. mode: 0 heuristic, 1 always, 2 never; the other fields are named as in /proc/sys/vm.

    UserError: a mode that does not exist.
    """

    def __init__(self, frames: Frames, swap: Swap, mode: int = 0) -> None:
        if mode not in (HEURISTIC, ALWAYS, NEVER):
            raise UserError(f"overcommit {mode}: it is 0 (heuristic), 1 (always) or 2 (never)")
        self.frames = frames
        self.swap = swap
        self.mode = mode
        self.ratio = 50
        self.kbytes = 0
        free = frames.total << frames.page_shift >> 10
        self.user_reserve_kbytes = min(free // 32, 1 << 17)
        self.admin_reserve_kbytes = min(free // 32, 1 << 13)

    def set_by(self, profile: KernelProfile) -> None:
        """The fields besides the mode as the profile has them."""
        self.ratio = profile.overcommit_ratio
        self.kbytes = profile.overcommit_kbytes
        if profile.user_reserve_kbytes is not None:
            self.user_reserve_kbytes = profile.user_reserve_kbytes
        if profile.admin_reserve_kbytes is not None:
            self.admin_reserve_kbytes = profile.admin_reserve_kbytes

    def limit(self) -> int:
        """CommitLimit, pages: overcommit_kbytes, or overcommit_ratio percent of RAM without reserved huge pages; and
        swap."""
        if self.kbytes:
            return int((self.kbytes << 10 >> self.frames.page_shift) + self.swap.total)
        return int((self.frames.total - self.frames.pooled) * self.ratio // 100 + self.swap.total)

    def allows(self, pages: int, total_vm: int, admin: bool) -> bool:
        """Whether a process of `total_vm` pages may have `pages` more promised; admin: it has CAP_SYS_ADMIN.

        Mode 0 refuses only what RAM and swap together could never hold, each request for itself
        (8c7829b04c52, "mm: fix false-positive OVERCOMMIT_GUESS failures", 5.2). Mode 2 keeps Committed_AS below
        CommitLimit, less a reserve for administrators and one for the user to end the process by.
        """
        if self.mode == 1:
            return True
        if self.mode == 0:
            return pages <= self.frames.total + self.swap.total
        allowed = self.limit()
        if not admin:
            allowed -= self.admin_reserve_kbytes << 10 >> self.frames.page_shift
        reserve = self.user_reserve_kbytes << 10 >> self.frames.page_shift
        allowed -= total_vm // 32 if total_vm // 32 < reserve else reserve
        return self.frames.committed + pages < allowed
