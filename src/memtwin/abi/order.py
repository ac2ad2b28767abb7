# SPDX-License-Identifier: LGPL-2.1-or-later
"""The order of a struct's members that wastes least.

Members whose size is a multiple of their alignment leave no hole when they stand in falling order of alignment, and
the struct is as small as any can be: its bits rounded up to its alignment. Bit-fields and attributes break that rule;
then the orders of what remains are tried out, as far as TRIALS go. A flexible array stays last, a bit-field of width 0
and the bit-fields around it stay together: their order means something.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

from memtwin.abi.ctype import Array, Member, Record
from memtwin.abi.layout import BYTE, Layout, align_of, lay_out, member_align, size_of

TRIALS = 5_000
_Block = tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class BestOrder:
    """The best order that was found. least: whether no other order can be smaller."""

    layout: Layout
    saved: int  # bytes an element, against the order of the declaration
    least: bool


def best_order(record: Record) -> BestOrder:
    """The members in the order that makes `record` smallest; the declared order where that is as good."""
    given = lay_out(record)
    if record.kind == "union" or len(record.members) < 2:
        return BestOrder(given, 0, True)
    blocks, tail = _blocks(record)
    bound = _lower_bound(given)
    best = given
    for order in _orders(record, blocks):
        found = lay_out(_reordered(record, [member for block in order for member in block] + tail))
        if (found.size, found.padding_bits) < (best.size, best.padding_bits):
            best = found
        if best.size == bound:
            break
    tried_all = _factorial_within(len(blocks), TRIALS)
    return BestOrder(best, given.size - best.size, best.size == bound or tried_all)


def _reordered(record: Record, members: list[Member]) -> Record:
    return replace(record, members=members, laid_out=None)


def _lower_bound(layout: Layout) -> int:
    """No order is smaller than all bits together, rounded up to the alignment."""
    bits = sum(place.bits for place in layout.places)
    return -(-bits // (layout.align * BYTE)) * layout.align


def _blocks(record: Record) -> tuple[list[_Block], list[Member]]:
    """What may be moved on its own, and what must stay at the end."""
    members = list(record.members)
    tail = []
    last = members[-1].type
    if isinstance(last, Array) and last.count == 0:
        tail.append(members.pop())
    blocks: list[_Block] = []
    for is_bits, run in itertools.groupby(members, key=lambda member: member.bits is not None):
        group = tuple(run)
        if is_bits and any(not member.bits for member in group):
            blocks.append(group)
        else:
            blocks += [(member,) for member in group]
    return blocks, tail


def _orders(record: Record, blocks: list[_Block]) -> itertools.chain[list[_Block]]:
    """Orders to try: the classic one, bit-fields first or last in it, then all as far as TRIALS go."""

    def key(block: _Block) -> tuple[int, int, int]:
        member = block[0]
        align = align_of(member.type) if member.bits is not None else member_align(record, member)
        return (-align, member.bits is not None, -(member.bits or size_of(member.type)))

    falling = sorted(blocks, key=key)
    plain = [block for block in falling if block[0].bits is None]
    bits = [block for block in falling if block[0].bits is not None]
    likely = [falling, plain + bits, bits + plain, [*plain, *reversed(bits)]]
    every = itertools.islice(map(list, itertools.permutations(falling)), TRIALS)
    return itertools.chain(likely, every)


def _factorial_within(count: int, limit: int) -> bool:
    product = 1
    for factor in range(2, count + 1):
        product *= factor
        if product > limit:
            return False
    return True
