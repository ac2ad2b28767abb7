# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""A reference string through a policy: which references fault, with so many frames. No page table, no bytes."""

from __future__ import annotations

from typing import Any

import cython
import numpy as np
import numpy.typing as npt

from memtwin.errors import UserError
from memtwin.kernel.policies import policy_named
from memtwin.kernel.policies.policy import Pages, Policy

if not cython.compiled:
    from memtwin.hostmem import load8, load32, load64, store8
    from memtwin.kernel.flags import NO_FRAME
    from memtwin.kernel.policies.policy import ANON, KINDS, ON_LIST

NEVER = 2**63


def simulate(
    references: Any, frames: int, policy: str = "two-list", seed: int = 1, first_counts: bool = True
) -> npt.NDArray[np.bool_]:
    """For each reference of the string (integers: page numbers) whether it faults, with `frames` frames in all.

    first_counts: the reference that brings a page in sets its accessed bit, as a processor does; False is what cache
    simulators do. seed: of a policy that draws. UserError: no frame, or a policy that does not exist.
    """
    string = np.asarray(references)
    if frames < 1 or string.ndim != 1 or not (string.size == 0 or np.issubdtype(string.dtype, np.integer)):
        raise UserError(f"{frames} frames for {string.ndim}-dimensional {string.dtype}: one row of page numbers")
    if string.size == 0:
        return np.zeros(0, np.bool_)
    names, dense = np.unique(string, return_inverse=True)
    order = np.ascontiguousarray(dense, np.uint32)
    chosen = policy_named(policy, Pages(len(names)), seed)
    nexts = next_uses(order, len(names)) if chosen.foresees else np.zeros(1, np.uint64)
    faults = np.zeros(len(order), np.uint8)
    run(chosen, order.ctypes.data, nexts.ctypes.data, len(order), faults.ctypes.data, frames, first_counts)
    return faults.view(np.bool_)


def next_uses(order: npt.NDArray[np.uint32], pages: int) -> npt.NDArray[np.uint64]:
    """For each reference when its page is referenced next: an index, NEVER for the last."""
    by_page = np.argsort(order, kind="stable")
    following = np.full(len(order), NEVER, np.uint64)
    earlier, later = by_page[: len(order) - 1], by_page[1:]
    again = order[later] == order[earlier]
    following[earlier[again]] = later[again]
    return following


def take_victim(policy: Policy) -> int:
    """A page to go, whatever it takes: a round that only cleared accessed bits is followed by another."""
    out = NO_FRAME
    while out == NO_FRAME:
        policy.begin(KINDS)
        out = policy.victim(KINDS)
    return out


def run(policy: Policy, references: int, nexts: int, count: int, hits: int, frames: int, first_counts: bool) -> int:
    """The loop: `references` u32, `nexts` u64, `hits` u8 by host address. Returns the number of faults."""
    pages = policy.pages
    resident = faults = 0
    for i in range(count):
        page = load32(references + 4 * i)
        if policy.foresees:
            policy.upcoming = load64(nexts + 8 * i)
        if load8(pages.state_at + page) & ON_LIST:
            store8(pages.young_at + page, 1)
            if policy.watches:
                policy.touched(page)
            continue
        if resident == frames:
            policy.remove(take_victim(policy))
            resident -= 1
        policy.insert(page, ANON)
        store8(pages.young_at + page, 1 if first_counts else 0)
        store8(hits + i, 1)
        resident += 1
        faults += 1
    return faults
