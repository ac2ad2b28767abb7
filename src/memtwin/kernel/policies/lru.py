# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Least recently used, exactly: the page whose last reference is longest ago goes first."""

from __future__ import annotations

from memtwin.kernel.policies.fifo import Fifo
from memtwin.kernel.policies.policy import Pages


class Lru(Fifo):
    """A stack: each reference moves its page to the top, the bottom goes.

    No kernel can do this, as no processor reports every reference; the twin can, at the price of its fast path.
    """

    def __init__(self, pages: Pages, seed: int = 1) -> None:
        Fifo.__init__(self, pages, seed)
        self.watches = True

    def touched(self, page: int) -> None:
        """To the top of the stack."""
        self.queue.rotate(page)

    def retire(self, page: int) -> None:
        """To the bottom of the stack."""
        self.queue.remove(page)
        self.queue.add_last(page)
