# SPDX-License-Identifier: LGPL-2.1-or-later
"""Page-replacement policies by name. To add one: docs/guide/add-a-policy.md."""

from __future__ import annotations

from memtwin.errors import UserError
from memtwin.kernel.policies.clock import Clock
from memtwin.kernel.policies.fifo import Fifo
from memtwin.kernel.policies.lru import Lru
from memtwin.kernel.policies.optimal import Optimal
from memtwin.kernel.policies.policy import Pages, Policy
from memtwin.kernel.policies.random import Random
from memtwin.kernel.policies.two_list import TwoList

POLICIES: dict[str, type[Policy]] = {
    "two-list": TwoList,
    "fifo": Fifo,
    "clock": Clock,
    "lru": Lru,
    "random": Random,
    "optimal": Optimal,
}


def policy_named(name: str, pages: Pages, seed: int = 1) -> Policy:
    """A new policy of that name over `pages`. UserError lists the names there are."""
    if name not in POLICIES:
        raise UserError(f"no page-replacement policy {name!r}: choose from {', '.join(POLICIES)}")
    return POLICIES[name](pages, seed)
