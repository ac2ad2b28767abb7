# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Groups of processes with a memory limit of their own, as the memory controller of cgroups has (mm/memcontrol.c).

A page is charged to the group of the process that brought it in, be it anonymous, of a file or shared memory, until it
leaves RAM; so is a page table. What else the kernel charges, its own structures for mappings and tasks, is left out.
Each group has lists of its own, so that a limit is met by reclaiming that group's pages. Group 0, the root, holds
everybody else and has no limit.
"""

from __future__ import annotations

from memtwin.kernel.policies.policy import Policy

UNLIMITED = 2**62


class Group:
    """A group. limit, usage, peak: pages. tables: those of `usage` that are page tables. failures: how often the limit
    was hit; kills: by its OOM killer."""

    def __init__(self, number: int, name: str, policy: Policy, limit: int = UNLIMITED) -> None:
        self.number = number
        self.name = name
        self.policy = policy
        self.limit = limit
        self.usage = self.peak = self.tables = 0
        self.failures = self.kills = 0

    def charge(self, pages: int) -> None:
        """`pages` more, or negative fewer, belong to the group."""
        self.usage += pages
        if self.usage > self.peak:
            self.peak = self.usage

    def charge_table(self, tables: int) -> None:
        """`tables` page tables more, or negative fewer."""
        self.tables += tables
        self.charge(tables)

    def __repr__(self) -> str:
        return f"<Group {self.name!r}: {self.usage} pages of {self.limit}>"
