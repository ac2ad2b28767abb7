# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""A huge page as one thing (a large folio), however its pages are mapped.

The kernel does not know at a glance whether a large folio is mapped by one address space only; it keeps two slots for
address spaces and a flag (include/linux/rmap.h, folio_add_return_large_mapcount, 6.15). A third address space
is not tracked, so that the answer may be "shared" for ever: copy on write then copies needlessly.
"""

from __future__ import annotations


class Folio:
    """count: mappings, a huge one counting once and those of single pages each. dirty: as a whole, whatever PTEs say.
    shared: more than one address space maps it, as far as the kernel knows."""

    def __init__(self) -> None:
        self.count = 0
        self.dirty = self.shared = False
        self.one = self.other = 0
        self.one_count = self.other_count = 0

    def add(self, space: int, times: int) -> None:
        """Address space number `space` maps it `times` times more."""
        self.count += times
        if self.one == space:
            self.one_count += times
        elif self.other == space:
            self.other_count += times
        elif self.one == 0:
            self.one = space
            self.one_count = times
            if self.count != times:
                self.shared = True
        elif self.other == 0:
            self.other = space
            self.other_count = times
            self.shared = True

    def sub(self, space: int, times: int) -> None:
        """Address space number `space` maps it `times` times less."""
        self.count -= times
        if self.one == space:
            self.one_count -= times
            if self.one_count == 0:
                self.one = 0
        elif self.other == space:
            self.other_count -= times
            if self.other_count == 0:
                self.other = 0
        if self.count in (self.one_count, self.other_count):
            self.shared = False

    def maybe_shared(self) -> bool:
        """folio_maybe_mapped_shared."""
        return self.count > 1 and self.shared
