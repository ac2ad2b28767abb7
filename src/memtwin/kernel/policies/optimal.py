# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Belady's optimal policy: the page whose next reference lies farthest ahead goes. A bound, as it needs the future.

L. A. Belady, "A study of replacement algorithms for a virtual-storage computer", IBM Systems Journal 5 (2), 1966.
"""

from __future__ import annotations

import cython

from memtwin.errors import UserError
from memtwin.kernel.policies.policy import Pages, Policy

if not cython.compiled:
    from memtwin.hostmem import load8, load32, load64, release, reserve, store8, store32, store64
    from memtwin.kernel.flags import NO_FRAME
    from memtwin.kernel.policies.policy import ON_LIST


class Optimal(Policy):
    """A heap of pages, the one whose next use is farthest at the top; `next` of a page is its place there.

    Whoever makes references sets `upcoming` first: the time of the page's next reference, or a great number for never.
    """

    def __init__(self, pages: Pages, seed: int = 1) -> None:
        self.uses_at = 0
        Policy.__init__(self, pages, seed)
        self.watches = self.foresees = True
        self.count = 0
        self.uses_at = reserve(12 * pages.count + 16)
        if self.uses_at == 0:
            raise UserError(f"the host gives no address space for a heap of {pages.count} pages")
        self.heap_at = self.uses_at + 8 * pages.count

    def __del__(self) -> None:
        if self.uses_at:
            release(self.uses_at, 12 * self.pages.count + 16)
            self.uses_at = 0

    def use(self, place: int) -> int:
        """When the page at a place of the heap is used next."""
        return load64(self.uses_at + 8 * load32(self.heap_at + 4 * place))

    def put(self, place: int, page: int) -> None:
        """The page stands at this place of the heap."""
        store32(self.heap_at + 4 * place, page)
        store32(self.pages.next_at + 4 * page, place)

    def settle(self, place: int) -> None:
        """Move the page at `place` up or down until no page is used earlier than one below it."""
        page = load32(self.heap_at + 4 * place)
        when = load64(self.uses_at + 8 * page)
        while place > 0 and self.use((place - 1) >> 1) < when:
            self.put(place, load32(self.heap_at + 4 * ((place - 1) >> 1)))
            place = (place - 1) >> 1
        while 2 * place + 1 < self.count:
            child = 2 * place + 1
            if child + 1 < self.count and self.use(child + 1) > self.use(child):
                child += 1
            if self.use(child) <= when:
                break
            self.put(place, load32(self.heap_at + 4 * child))
            place = child
        self.put(place, page)

    def insert(self, page: int, kind: int) -> None:
        """Into the heap, by the time of its next use."""
        store8(self.pages.state_at + page, kind | ON_LIST)
        store64(self.uses_at + 8 * page, self.upcoming)
        self.put(self.count, page)
        self.count += 1
        self.settle(self.count - 1)

    def remove(self, page: int) -> None:
        """Out of the heap."""
        store8(self.pages.state_at + page, 0)
        place = load32(self.pages.next_at + 4 * page)
        self.count -= 1
        if place != self.count:
            self.put(place, load32(self.heap_at + 4 * self.count))
            self.settle(place)

    def touched(self, page: int) -> None:
        """Its next use is another one now."""
        store64(self.uses_at + 8 * page, self.upcoming)
        self.settle(load32(self.pages.next_at + 4 * page))

    def victim(self, kinds: int) -> int:
        """The top of the heap; where only some kinds may go, the farthest of those."""
        if self.count == 0:
            return NO_FRAME
        self.scanned += 1
        page = load32(self.heap_at)
        if load8(self.pages.state_at + page) & kinds:
            return page
        return self.farthest_of(kinds)

    def farthest_of(self, kinds: int) -> int:
        """The farthest page of these kinds, by looking at all."""
        best = NO_FRAME
        for place in range(self.count):
            page = load32(self.heap_at + 4 * place)
            if load8(self.pages.state_at + page) & kinds and (
                best == NO_FRAME or self.use(place) > load64(self.uses_at + 8 * best)
            ):
                best = page
        return best

    def keep(self, page: int) -> None:
        """It counts as used at once."""
        store64(self.uses_at + 8 * page, 0)
        self.settle(load32(self.pages.next_at + 4 * page))

    def listed(self) -> list[int]:
        """The pages, the one used soonest first."""
        pages = [load32(self.heap_at + 4 * place) for place in range(self.count)]
        return sorted(pages, key=lambda page: load64(self.uses_at + 8 * page))
