# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""A page drawn at random: what a policy must beat to be worth its trouble."""

from __future__ import annotations

import cython

from memtwin.errors import UserError
from memtwin.kernel.policies.policy import Pages, Policy

if not cython.compiled:
    from memtwin.hostmem import load8, load32, release, reserve, store8, store32
    from memtwin.kernel.flags import NO_FRAME
    from memtwin.kernel.policies.policy import ON_LIST


class Random(Policy):
    """All pages in an array without order; `next` of a page is its place there. The generator is splitmix64."""

    def __init__(self, pages: Pages, seed: int = 1) -> None:
        self.places_at = 0
        Policy.__init__(self, pages, seed)
        self.state = seed & 0xFFFFFFFFFFFFFFFF
        self.count = 0
        self.places_at = reserve(4 * pages.count + 8)
        if self.places_at == 0:
            raise UserError(f"the host gives no address space for an array of {pages.count} pages")

    def __del__(self) -> None:
        if self.places_at:
            release(self.places_at, 4 * self.pages.count + 8)
            self.places_at = 0

    def draw(self, below: int) -> int:
        """A number in [0, below), evenly enough."""
        self.state = (self.state + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        word = self.state
        word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        return (word ^ (word >> 31)) % below

    def insert(self, page: int, kind: int) -> None:
        """Into the last place."""
        store8(self.pages.state_at + page, kind | ON_LIST)
        store32(self.pages.next_at + 4 * page, self.count)
        store32(self.places_at + 4 * self.count, page)
        self.count += 1

    def remove(self, page: int) -> None:
        """The page of the last place takes its place."""
        store8(self.pages.state_at + page, 0)
        place = load32(self.pages.next_at + 4 * page)
        self.count -= 1
        last = load32(self.places_at + 4 * self.count)
        store32(self.places_at + 4 * place, last)
        store32(self.pages.next_at + 4 * last, place)

    def victim(self, kinds: int) -> int:
        """A page at random; the next one in the array whose kind is right."""
        if self.count == 0:
            return NO_FRAME
        place = self.draw(self.count)
        for _ in range(self.count):
            self.scanned += 1
            page = load32(self.places_at + 4 * place)
            if load8(self.pages.state_at + page) & kinds:
                return page
            place = place + 1 if place + 1 < self.count else 0
        return NO_FRAME

    def listed(self) -> list[int]:
        """The array."""
        return [load32(self.places_at + 4 * place) for place in range(self.count)]
