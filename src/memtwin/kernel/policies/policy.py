# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""What every page-replacement policy has in common: pages, their links and state, and the calls that reclaim makes.

A policy knows pages by number (in a machine the PFN) and decides one thing: which goes next. It never looks at page
tables; whether a page was referenced it asks `Pages.young`, which tests the accessed bits and clears them, as the
kernel does. The state byte of a page:

    7   6   5    4     3     2     1     0
  +---+---+---+------+------+----+------+------+
  |           |ON_LIS|ACTIVE|REF.| FILE | ANON |
  +---+---+---+------+------+----+------+------+
"""

from __future__ import annotations

from collections.abc import Iterator

import cython

from memtwin.errors import UserError, ValidationError

if not cython.compiled:
    from memtwin.hostmem import load8, load32, release, reserve, store8, store32
    from memtwin.kernel.flags import NO_FRAME

    ANON, FILE, KINDS, REFERENCED, ACTIVE, ON_LIST = 1, 2, 3, 4, 8, 0x10
    EXECUTABLE = 0x100


class Pages:
    """Links and state of `count` pages, for the lists of all policies that share them; nothing is committed at first.

    This one is for reference strings: a byte a page says whether it was referenced. A machine's (kernel/reclaim.py)
    looks at the page tables instead.
    """

    def __init__(self, count: int) -> None:
        self.links_at = 0
        self.count = count
        self.links_at = reserve(count * 10 + 8)
        if self.links_at == 0:
            raise UserError(f"the host gives no address space for the lists of {count} pages")
        self.next_at = self.links_at
        self.previous_at = self.next_at + 4 * count
        self.state_at = self.previous_at + 4 * count
        self.young_at = self.state_at + count

    def __del__(self) -> None:
        if self.links_at:
            release(self.links_at, self.count * 10 + 8)
            self.links_at = 0

    def young(self, page: int) -> int:
        """How many PTEs were used to reach the page since this was last asked; now none has been.

        EXECUTABLE is added when one of them maps it executable.
        """
        referenced = load8(self.young_at + page)
        store8(self.young_at + page, 0)
        return referenced

    def state(self, page: int) -> int:
        """The page's state byte, for tests and views."""
        return load8(self.state_at + page)


class PageList:
    """A list of pages by their links; a page is on one list at most. `first` came last."""

    def __init__(self, pages: Pages) -> None:
        self.pages = pages
        self.first = self.last = NO_FRAME
        self.count = 0

    def add(self, page: int) -> None:
        """The page, on no list, becomes the first."""
        pages = self.pages
        store32(pages.next_at + 4 * page, self.first)
        store32(pages.previous_at + 4 * page, NO_FRAME)
        if self.first == NO_FRAME:
            self.last = page
        else:
            store32(pages.previous_at + 4 * self.first, page)
        self.first = page
        self.count += 1

    def add_last(self, page: int) -> None:
        """The page, on no list, becomes the last."""
        pages = self.pages
        store32(pages.next_at + 4 * page, NO_FRAME)
        store32(pages.previous_at + 4 * page, self.last)
        if self.last == NO_FRAME:
            self.first = page
        else:
            store32(pages.next_at + 4 * self.last, page)
        self.last = page
        self.count += 1

    def remove(self, page: int) -> None:
        """Take the page, which is on this list, out."""
        pages = self.pages
        after = load32(pages.next_at + 4 * page)
        before = load32(pages.previous_at + 4 * page)
        if after == NO_FRAME:
            self.last = before
        else:
            store32(pages.previous_at + 4 * after, before)
        if before == NO_FRAME:
            self.first = after
        else:
            store32(pages.next_at + 4 * before, after)
        self.count -= 1

    def rotate(self, page: int) -> None:
        """The page, which is on this list, becomes the first again."""
        if page != self.first:
            self.remove(page)
            self.add(page)

    def __iter__(self) -> Iterator[int]:
        page = self.first
        while page != NO_FRAME:
            yield page
            page = load32(self.pages.next_at + 4 * page)


class Policy:
    """Which page goes next. Subclasses: one file each beside this one, named in policies/__init__.py.

    watches: it must be told of every reference (`touched`), which no hardware does; the twin then lets no access pass
    unseen. foresees: it must be told, in `upcoming` before each reference, when the page is referenced next.
    scanned: pages looked at so far, the kernel's pgscan.
    """

    def __init__(self, pages: Pages, seed: int = 1) -> None:
        self.pages = pages
        self.watches = self.foresees = False
        self.upcoming = 0
        self.scanned = 0

    def begin(self, kinds: int) -> None:
        """A round of reclaim begins; `kinds` (ANON | FILE) may go."""

    def insert(self, page: int, kind: int) -> None:
        """A page of this kind (ANON or FILE) is now in RAM."""
        store8(self.pages.state_at + page, kind | ON_LIST)

    def remove(self, page: int) -> None:
        """The page left RAM, or belongs to nobody any more."""
        store8(self.pages.state_at + page, 0)

    def touched(self, page: int) -> None:
        """The page was referenced; only called when the policy `watches`."""

    def victim(self, kinds: int) -> int:
        """The page to go, of one of `kinds`; it stays listed until `remove`. NO_FRAME: there is none."""
        return NO_FRAME

    def keep(self, page: int) -> None:
        """The victim could not go (locked, no swap slot left): do not offer it again at once."""

    def retire(self, page: int) -> None:
        """MADV_COLD: the program does not expect to need the page soon."""

    def listed(self) -> list[int]:
        """All pages the policy knows, the one to go next last, as far as it has an order."""
        return []


def validate_policy(policy: Policy) -> None:
    """Raise ValidationError unless the pages listed are distinct and exactly those whose state says so."""
    listed = policy.listed()
    if len(set(listed)) != len(listed):
        raise ValidationError("a page is listed twice")
    for page in listed:
        if not policy.pages.state(page) & ON_LIST:
            raise ValidationError(f"page {page} is on a list and its state does not say so")
