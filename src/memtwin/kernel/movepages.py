# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""The pages of a mapping move to other addresses: page table entries, and bytes in the window (move_page_tables)."""

from __future__ import annotations

import cython

from memtwin.kernel.mm import Mm

if not cython.compiled:
    from memtwin.hostmem import fill, load8, load64, store8, store64
    from memtwin.kernel.flags import BYTES, PTE_MAPPED, PTE_ZERO


def move_pages(mm: Mm, start: int, end: int, to: int) -> None:
    """Move the entries of [start, end) to `to`: whole tables where both ranges have one, else one by one.

    No fault, no copy for the process. Where the old range has a table the new one gets one, even for no entry.
    """
    span = mm.pages.span
    while start < end:
        stop = (start & ~(span - 1)) + span
        if stop > end:
            stop = end
        room = (to & ~(span - 1)) + span - to
        if stop - start > room:
            stop = start + room
        if mm.pages.find(start) and not (stop - start == span and move_table(mm, start, to)):
            if mm.pages.huge and mm.pages.is_huge(start):
                mm.split_huge(start)
            mm.pages.make(to)
            move_entries(mm, start, stop, to)
        to += stop - start
        start = stop


def move_table(mm: Mm, start: int, to: int) -> bool:
    """Hang the table for `start` in at `to`, where none may be; False when one is."""
    target = mm.pages.make_upper(to)
    if target == 0 or load64(target):
        return False
    source = mm.pages.upper(start)
    entry = load64(source)
    table = mm.pages.find(start)
    mm.owns(to)  # bytes that have to leave the window for it do so while the old entries still say whose they are
    for i in range(1 << mm.pages.bits):
        pte = load64(table + 8 * i)
        if pte:
            move_bytes(mm, pte, start + (i << mm.page_shift), to + (i << mm.page_shift))
    store64(target, entry)
    store64(source, 0)
    mm.pages.forget()
    return True


def move_entries(mm: Mm, start: int, end: int, to: int) -> None:
    """Move entries one by one, within one table on both sides."""
    mm.owns(to)  # as in move_table
    while start < end:
        source = mm.pages.entry(start)
        pte = load64(source)
        if pte:
            store64(source, 0)
            store64(mm.pages.entry(to), pte)
            move_bytes(mm, pte, start, to)
        start += mm.page_size
        to += mm.page_size


def move_bytes(mm: Mm, pte: int, address: int, to: int) -> None:
    """What else has to follow an entry that moves: bytes that lie in the window, and the permission."""
    if pte & PTE_MAPPED and not pte & PTE_ZERO:
        mm.move_bytes(pte >> mm.page_shift, address, to)
    slot = mm.slot(address)
    if mm.owned(address):
        if load8(slot) & BYTES:
            fill(mm.window + (address & mm.mask), 0, mm.page_size)
        store8(slot, 0)
    mm.grant(to, pte)
