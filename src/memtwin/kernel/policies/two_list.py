# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Linux's own: an inactive and an active list for anonymous memory and for files (mm/vmscan.c, without CONFIG_LRU_GEN).

A page comes to the head of its inactive list. Found at the tail with its accessed bit set it goes round once more;
found so a second time it is activated; not referenced, it goes. Active pages come back to the inactive list when that
is too short. How many pages of each list are looked at follows their lengths, the priority (12 at first: a 4096th of
a list, then twice as many each pass), swappiness and what reclaiming of either kind cost lately.
Not modelled: refault distances (mm/workingset.c), per-CPU batches before the lists.
"""

from __future__ import annotations

import cython

from memtwin.kernel.policies.policy import PageList, Pages, Policy

if not cython.compiled:
    from memtwin.hostmem import load8, store8
    from memtwin.kernel.flags import NO_FRAME
    from memtwin.kernel.policies.policy import ACTIVE, ANON, EXECUTABLE, FILE, KINDS, ON_LIST, REFERENCED

    BATCH, FIRST_PRIORITY, LISTS = 32, 12, 4


class TwoList(Policy):
    """The four lists. swappiness: 0 to 200, /proc/sys/vm/swappiness."""

    def __init__(self, pages: Pages, seed: int = 1) -> None:
        Policy.__init__(self, pages, seed)
        self.inactive_anon = PageList(pages)
        self.active_anon = PageList(pages)
        self.inactive_file = PageList(pages)
        self.active_file = PageList(pages)
        if not cython.compiled:
            self.quota = [0] * LISTS
        self.priority = FIRST_PRIORITY
        self.turn = 0
        self.batch = BATCH
        self.anon_cost = self.file_cost = 0
        self.swappiness = 60
        self.found = False

    def list_of(self, which: int) -> PageList:
        """List number 0 to 3: inactive anon, active anon, inactive file, active file."""
        if which < 2:
            return self.active_anon if which & 1 else self.inactive_anon
        return self.active_file if which & 1 else self.inactive_file

    def home_of(self, page: int) -> PageList:
        """The list that the page is on."""
        state = load8(self.pages.state_at + page)
        return self.list_of((2 if state & FILE else 0) + (1 if state & ACTIVE else 0))

    def insert(self, page: int, kind: int) -> None:
        """To the head of the inactive list. Linux b518154e59aa ("mm/vmscan: protect the workingset on anonymous
        LRU", 5.9) did so for anonymous pages, which began as active before."""
        store8(self.pages.state_at + page, kind | ON_LIST)
        self.home_of(page).add(page)

    def remove(self, page: int) -> None:
        """Out of its list."""
        self.home_of(page).remove(page)
        store8(self.pages.state_at + page, 0)

    def begin(self, kinds: int) -> None:
        """Start at the lowest pressure."""
        self.priority = FIRST_PRIORITY
        self.found = False
        for which in range(LISTS):
            self.quota[which] = 0

    def victim(self, kinds: int) -> int:
        """The next page that passes no more; NO_FRAME when a whole pass at priority 0 found none (shrink_lruvec)."""
        while True:
            if self.quota[0] + self.quota[1] + self.quota[2] + self.quota[3] == 0 and not self.plan(kinds):
                return NO_FRAME
            which = self.turn
            if self.quota[which] == 0 or self.batch == 0:
                self.turn = (which + 1) & 3
                self.batch = BATCH
                continue
            if which & 1:
                count = self.quota[which] if self.quota[which] < BATCH else BATCH
                self.quota[which] -= count
                self.batch = 0
                if self.inactive_is_low(which):
                    self.deactivate(which, count)
                continue
            page = self.list_of(which).last
            if page == NO_FRAME:
                self.quota[which] = 0
                continue
            self.quota[which] -= 1
            self.batch -= 1
            self.scanned += 1
            if not self.passes(page):
                self.found = True
                return page

    def plan(self, kinds: int) -> bool:
        """Set how much of each list the next pass looks at; False when priority 0 is behind us."""
        longest = 0
        for which in range(LISTS):
            if self.list_of(which).count > longest:
                longest = self.list_of(which).count
        while self.priority > 0 and longest >> self.priority == 0:
            self.priority -= 1
        while self.priority >= 0:
            self.share(kinds)
            self.priority -= 1
            if self.quota[0] + self.quota[1] + self.quota[2] + self.quota[3]:
                return True
        return False

    def share(self, kinds: int) -> None:
        """get_scan_count: quotas at the present priority."""
        anon, file = 1, 1
        total = 1
        if kinds == KINDS and self.priority:
            costs = self.anon_cost + self.file_cost
            total = 2 * costs + self.anon_cost + self.file_cost
            anon = self.swappiness * (total + 1) // (costs + self.anon_cost + 1)
            file = (200 - self.swappiness) * (total + 1) // (costs + self.file_cost + 1)
            total = anon + file
            if self.inactive_file.count >> self.priority and not self.inactive_is_low(3):
                anon = 0  # plenty of file pages used once: they alone (cache_trim_mode)
                file = total = 1
        if not kinds & ANON:
            anon = 0
        if not kinds & FILE:
            file = 0
        for which in range(LISTS):
            self.quota[which] = (self.list_of(which).count >> self.priority) * (file if which > 1 else anon) // total

    def inactive_is_low(self, which: int) -> bool:
        """Whether the inactive list beside active list `which` is too short: 1:1 below 1 GiB, 1:sqrt(10 GiB) above."""
        inactive = self.list_of(which & 2).count
        active = self.list_of(which | 1).count
        gigabytes = (inactive + active) >> 18
        ratio = 1
        while (ratio + 1) * (ratio + 1) <= 10 * gigabytes:
            ratio += 1
        return inactive * ratio < active

    def deactivate(self, which: int, count: int) -> None:
        """shrink_active_list: the oldest active pages become inactive; code in use stays."""
        source = self.list_of(which)
        target = self.list_of(which - 1)
        while count and source.count:
            count -= 1
            page = source.last
            state = load8(self.pages.state_at + page)
            if self.pages.young(page) & EXECUTABLE and which == 3:
                source.rotate(page)
                self.note_cost(FILE, 1)
                continue
            source.remove(page)
            store8(self.pages.state_at + page, state & ~ACTIVE)
            target.add(page)

    def passes(self, page: int) -> bool:
        """folio_check_references: whether an inactive page goes round once more, or to the active list."""
        state = load8(self.pages.state_at + page)
        used = self.pages.young(page)
        store8(self.pages.state_at + page, state & ~REFERENCED)
        if used == 0:
            return False
        home = self.home_of(page)
        self.note_cost(state & KINDS, 1)
        if state & REFERENCED or used & ~EXECUTABLE > 1 or (used & EXECUTABLE and state & FILE):
            home.remove(page)
            store8(self.pages.state_at + page, state | REFERENCED | ACTIVE)
            self.home_of(page).add(page)
        else:
            store8(self.pages.state_at + page, state | REFERENCED)
            home.rotate(page)
        return True

    def keep(self, page: int) -> None:
        """Back to the head of its list."""
        self.home_of(page).rotate(page)
        self.note_cost(load8(self.pages.state_at + page) & KINDS, 1)

    def retire(self, page: int) -> None:
        """folio_deactivate: an active page becomes inactive."""
        state = load8(self.pages.state_at + page)
        if not state & ACTIVE:
            return
        self.home_of(page).remove(page)
        store8(self.pages.state_at + page, state & ~(ACTIVE | REFERENCED))
        self.home_of(page).add(page)

    def note_cost(self, kind: int, cost: int) -> None:
        """lru_note_cost: what reclaiming this kind cost; old costs fade."""
        if kind & FILE:
            self.file_cost += cost
        else:
            self.anon_cost += cost
        pages = self.inactive_anon.count + self.active_anon.count + self.inactive_file.count + self.active_file.count
        if self.anon_cost + self.file_cost > pages >> 2:
            self.anon_cost >>= 1
            self.file_cost >>= 1

    def listed(self) -> list[int]:
        """Active before inactive pages, each list from its head."""
        return [
            *self.active_anon, *self.active_file, *self.inactive_anon, *self.inactive_file
        ]  # fmt: skip
