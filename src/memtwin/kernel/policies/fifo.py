# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""First in, first out: the page that came first goes first, however often it is used."""

from __future__ import annotations

import cython

from memtwin.kernel.policies.policy import PageList, Pages, Policy

if not cython.compiled:
    from memtwin.hostmem import load8, load32, store8
    from memtwin.kernel.flags import NO_FRAME
    from memtwin.kernel.policies.policy import ON_LIST


class Fifo(Policy):
    """One queue in order of arrival. Belady's anomaly: with more frames it may fault more often."""

    def __init__(self, pages: Pages, seed: int = 1) -> None:
        Policy.__init__(self, pages, seed)
        self.queue = PageList(pages)

    def insert(self, page: int, kind: int) -> None:
        """The newest of the queue."""
        store8(self.pages.state_at + page, kind | ON_LIST)
        self.queue.add(page)

    def remove(self, page: int) -> None:
        """Out of the queue."""
        store8(self.pages.state_at + page, 0)
        self.queue.remove(page)

    def victim(self, kinds: int) -> int:
        """The oldest of these kinds."""
        return self.last_of(kinds)

    def last_of(self, kinds: int) -> int:
        """The last of the queue whose kind is one of these; NO_FRAME."""
        page = self.queue.last
        while page != NO_FRAME:
            self.scanned += 1
            if load8(self.pages.state_at + page) & kinds:
                return page
            page = load32(self.pages.previous_at + 4 * page)
        return NO_FRAME

    def keep(self, page: int) -> None:
        """It queues again."""
        self.queue.rotate(page)

    def listed(self) -> list[int]:
        """The queue, the newest first."""
        return list(self.queue)
