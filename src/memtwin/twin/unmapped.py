# SPDX-License-Identifier: LGPL-2.1-or-later
"""An address where nothing is mapped, in words: what an access to it would do, and what lies nearest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtwin.kernel.flags import GROWS, IN_GUARD_GAP, OVER_LIMIT, VM_GROWSDOWN
from memtwin.kernel.growth import growth
from memtwin.languages import Tell
from memtwin.units import format_size
from memtwin.views import AddressSpaceView

if TYPE_CHECKING:
    from memtwin.twin.process import Process

_NEAR_BREAK = 1 << 30


def of_nothing(process: Process, view: AddressSpaceView, address: int, tell: Tell) -> str:
    """What an access to `address`, which lies in no region of `view`, would do."""
    space = process.space
    if space.canonical_end <= address < (1 << 64) - space.canonical_end:
        return tell("{address:#x} is no address: the processor translates {bits} bits, and the ones above must all be "
                    "equal to the highest of these. An access is a segmentation fault (code 128), which reports the "
                    "address 0.", address=address, bits=space.canonical_end.bit_length())  # fmt: skip
    if address >= space.task_size:
        return tell("{address:#x} is the kernel's: a program's addresses end at {end:#x}. An access is a segmentation "
                    "fault (code 1, no mapping).", address=address, end=space.task_size)  # fmt: skip
    return _of_stack(process, address, tell) or _of_gap(view, address, tell)


def _of_stack(process: Process, address: int, tell: Tell) -> str:
    """The region above is a stack, which grows down to the address, or why it does not; "" if it is none."""
    if process.ended is not None:
        return ""
    space = process.space
    above = next((vma for vma in space.vmas() if vma.start > address), None)
    if above is None or not above.flags & VM_GROWSDOWN:
        return ""
    answer = growth(space, above, address)
    size = format_size(above.start - address)
    if answer == GROWS:
        return tell("{address:#x}: nothing is mapped there yet, {size} below the stack at {start:#x}, which grows down "
                    "to an access by itself: a page fault (a frame of zeros), no signal.",
                    address=address, size=size, start=above.start)  # fmt: skip
    if answer == OVER_LIMIT:
        return tell("{address:#x}: nothing is mapped there, {size} below the stack at {start:#x}, which may not grow "
                    "so far: RLIMIT_STACK is {limit}. An access is a segmentation fault (code 1, no mapping).",
                    address=address, size=size, start=above.start, limit=_limit(space.stack_limit))  # fmt: skip
    if answer == IN_GUARD_GAP:
        return tell("{address:#x}: nothing is mapped there, {size} below the stack at {start:#x}, which keeps {gap} "
                    "free to the mapping below it. An access is a segmentation fault (code 1, no mapping).",
                    address=address, size=size, start=above.start, gap=format_size(space.guard_gap))  # fmt: skip
    return ""


def _limit(limit: int) -> str:
    return "unlimited" if limit >= 1 << 63 else format_size(limit)


def _of_gap(view: AddressSpaceView, address: int, tell: Tell) -> str:
    below = max((r for r in view.regions if r.end <= address), key=lambda r: r.end, default=None)
    above = min((r for r in view.regions if r.start > address), key=lambda r: r.start, default=None)
    near = []
    if below:
        name, size = below.name or tell(below.kind), format_size(address - below.end)
        near.append(tell("{size} above the end of {name}", size=size, name=name))
    if above:
        name, size = above.name or tell(above.kind), format_size(above.start - address)
        near.append(tell("{size} below {name}", size=size, name=name))
    if not near:
        near.append(tell("in an empty address space"))
    said = tell("{address:#x}: nothing is mapped there, {where}; an access is a segmentation fault (code 1, no "
                "mapping).", address=address, where=tell(" and ").join(near))  # fmt: skip
    if view.brk_start and view.brk_end <= address < view.brk_end + _NEAR_BREAK and below and below.kind == "heap":
        said += tell(" The break is at {at:#x}: the heap ends there.", at=view.brk_end)
    return said
