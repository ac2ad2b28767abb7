# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""CLOCK, or second chance: first in, first out, but a page referenced since it was last looked at passes once."""

from __future__ import annotations

import cython

from memtwin.kernel.policies.fifo import Fifo

if not cython.compiled:
    from memtwin.hostmem import load8
    from memtwin.kernel.flags import NO_FRAME
    from memtwin.kernel.policies.policy import KINDS


class Clock(Fifo):
    """The queue is the clock face, its end the hand: who is passed moves to the front, just behind the hand."""

    def victim(self, kinds: int) -> int:
        """The first under the hand that was not referenced; after one turn all accessed bits are clear."""
        turns = 2 * self.queue.count + 1
        while turns > 0:
            turns -= 1
            page = self.queue.last
            if page == NO_FRAME:
                return NO_FRAME
            self.scanned += 1
            if load8(self.pages.state_at + page) & KINDS & kinds and self.pages.young(page) == 0:
                return page
            self.queue.rotate(page)
        return self.last_of(kinds)
