# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the allocator keeps for each thread (thread-local variables of malloc.c and arena.c), and where to find it."""

from __future__ import annotations

import cython

if not cython.compiled:
    RECENT = 64


class Thread:
    """A thread before its first call. tcache, arena: 0 for none; no_tcache: it is to do without a cache."""

    def __init__(self, tid: int) -> None:
        self.tid = tid
        self.tcache = self.arena = 0
        self.no_tcache = False


class Threads:
    """Threads by tid; what the current one has is in the allocator's fields until another becomes current."""

    def __init__(self) -> None:
        self.by_tid: dict[int, Thread] = {}
        self.recent: list[Thread | None] = [None] * RECENT  # by the low bits of the tid: found without a number object

    def find(self, tid: int) -> Thread:
        """The thread with this tid, which is new if it has not been seen."""
        thread = self.recent[tid & (RECENT - 1)]
        if thread is None or thread.tid != tid:
            thread = self.by_tid.get(tid)
            if thread is None:
                return self.begin(tid)
            self.recent[tid & (RECENT - 1)] = thread
        return thread

    def begin(self, tid: int) -> Thread:
        """A new thread, also where another had its tid."""
        thread: Thread = Thread(tid)
        self.by_tid[tid] = self.recent[tid & (RECENT - 1)] = thread
        return thread

    def end(self, tid: int) -> None:
        """The thread is no more."""
        self.by_tid.pop(tid, None)
        self.recent[tid & (RECENT - 1)] = None

    def others(self, tid: int) -> list[Thread]:
        """All but this one."""
        return [thread for thread in self.by_tid.values() if thread.tid != tid]
