# SPDX-License-Identifier: LGPL-2.1-or-later
"""validate_machine: whether everything that a machine and its processes know of memory fits together.

Each frame is exactly one thing: free, a page table, the zero page, in the page cache or the swap cache, or mapped; its
map count is the number of page-table entries that map it; a private page that may be written is nobody else's; an entry
grants no more than its VMA, and a permission byte no more than the entry; counters equal recounts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from memtwin.errors import ValidationError
from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.flags import (
    BYTES,
    FRAME_ANON,
    FRAME_EXCLUSIVE,
    FRAME_FILE,
    FRAME_HUGETLB,
    FRAME_SWAPCACHE,
    FRAME_TABLE,
    PTE_DIRTY,
    PTE_MAPPED,
    PTE_PKEY,
    PTE_PRESENT,
    PTE_SWAP,
    PTE_WRITABLE,
    PTE_ZERO,
    TOUCHED,
    VM_EXEC,
    VM_GROWSDOWN,
    VM_LOCKED,
    VM_PKEY,
    VM_SHARED,
    VM_WRITE,
)
from memtwin.kernel.frames import validate_buddy, validate_free_frames
from memtwin.kernel.hugepool import HugeInode, validate_pool
from memtwin.kernel.machine import Machine
from memtwin.kernel.reclaim import validate_reclaim
from memtwin.kernel.swap import validate_swap
from memtwin.kernel.vma import Vma, validate_tree

_READ, _WRITE = 1, 2
_FRAME_MASK = (1 << 52) - 1
_SCANNED_BITS = 34  # windows up to this size are looked at whole


def validate_machine(machine: Machine, spaces: Iterable[AddressSpace]) -> None:
    """Raise ValidationError at the first thing that does not fit. spaces: all that live on the machine."""
    validate_buddy(machine.frames)
    validate_swap(machine.swap_area)
    validate_reclaim(machine.reclaim)
    for pool in machine.huge_pools.values():
        validate_pool(pool)
    free = validate_free_frames(machine.frames)
    census = _Census(machine)
    for space in spaces:
        validate_space(space, census)
    census.compare(free)


def validate_space(space: AddressSpace, census: _Census | None = None) -> None:
    """Check one address space by itself; `census` gathers what concerns the whole machine."""
    validate_tree(space.tree)
    vmas = space.vmas()
    for vma in vmas:
        if (vma.start | vma.end) & (space.page_size - 1) or vma.end > space.task_size or vma.space is not space:
            raise ValidationError(f"{vma!r}: unaligned, beyond user addresses, or another space's")
    _check_totals(space, vmas)
    _check_tables(space, census)
    _check_pages(space, vmas, census or _Census(space.machine))


def pooled_frames(machine: Machine) -> set[int]:
    """The frames of reserved huge pages that nobody has, or that a shared mapping's file has."""
    order = {size: pool.order for size, pool in machine.huge_pools.items()}
    heads = [(pfn, pool.order) for pool in machine.huge_pools.values() for pfn in pool.free]
    files = [owner for owner in machine.frames.owners.values() if isinstance(owner, HugeInode)]
    heads += [(pfn, order[file.pool.size]) for file in files for pfn in file.pages.values()]
    return {frame for pfn, size in heads for frame in range(pfn, pfn + (1 << size))}


class _Census:
    """What the entries of all spaces say of the machine's frames."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.frames = machine.frames
        self.known: dict[int, dict[str, int]] = {}
        self.mapped: Counter[int] = Counter()
        self.tables: set[int] = set()
        self.slots: Counter[int] = Counter()
        self.pooled = pooled_frames(machine)

    def state(self, pfn: int) -> dict[str, int]:
        """What the machine knows of a frame, asked once."""
        if pfn not in self.known:
            if pfn >= self.frames.total:
                raise ValidationError(f"an entry maps frame {pfn}: the machine has {self.frames.total}")
            self.known[pfn] = self.frames.state(pfn)
        return self.known[pfn]

    def compare(self, free: set[int]) -> None:
        """Hold the recounts against the frames: leaks, wrong map counts, frames that are two things."""
        own = {0, int(self.machine.zero_pfn)}
        for pfn in range(int(self.frames.fresh)):
            state = self.state(pfn)
            flags = state["flags"]
            if pfn in self.tables:
                if pfn in free or self.mapped[pfn] or not flags & FRAME_TABLE:
                    raise ValidationError(f"frame {pfn} is a page table, and yet {state}")
            elif pfn in free:
                if self.mapped[pfn]:
                    raise ValidationError(f"frame {pfn} is free, and yet {self.mapped[pfn]} entries map it")
            elif pfn not in own and state["mapped"] != self.mapped[pfn]:
                raise ValidationError(f"frame {pfn} is mapped {self.mapped[pfn]} times, counted {state['mapped']}")
            elif pfn not in own and not self.mapped[pfn] and not self._is_cached(pfn, state):
                raise ValidationError(f"frame {pfn} leaked: not free, and nobody's: {state}")
            if flags & FRAME_ANON and flags & FRAME_EXCLUSIVE and self.mapped[pfn] > 1:
                raise ValidationError(f"frame {pfn} is exclusive, and yet {self.mapped[pfn]} entries map it")
        self._compare_slots()

    def _is_cached(self, pfn: int, state: dict[str, int]) -> bool:
        """Whether a frame that nobody maps is in the page cache of its file, or in the swap cache, or a huge zero."""
        if state["flags"] & FRAME_SWAPCACHE or pfn in self.pooled:
            return True
        huge_zero = int(getattr(self.machine, "huge_zero_pfn", 0) or 0)
        if huge_zero and huge_zero <= pfn < huge_zero + (
            self.machine.profile.huge_size // self.machine.profile.page_size
        ):
            return True
        owner: Any = self.frames.owners.get(state["owner"])
        pages = getattr(owner, "pages", None)
        return bool(state["flags"] & FRAME_FILE and pages is not None and pages.get(state["index"]) == pfn)

    def _compare_slots(self) -> None:
        """Swap slots: as many references as entries, of processes and of files in memory, name them."""
        swap = self.machine.swap_area
        for owner in self.frames.owners.values():
            self.slots.update(getattr(owner, "swapped", {}).values())
        for slot in range(1, swap.fresh):
            if swap.references(slot) != self.slots[slot]:
                raise ValidationError(
                    f"swap slot {slot}: {self.slots[slot]} entries refer to it, {swap.references(slot)} are counted"
                )


def _check_totals(space: AddressSpace, vmas: list[Vma]) -> None:
    """total_vm and its parts, by vm_stat_account's rule."""
    found: Counter[str] = Counter()
    for vma in vmas:
        pages = (vma.end - vma.start) >> space.page_shift
        found["total_vm"] += pages
        if vma.flags & (VM_EXEC | VM_WRITE | VM_GROWSDOWN) == VM_EXEC:
            found["exec_vm"] += pages
        elif vma.flags & VM_GROWSDOWN:
            found["stack_vm"] += pages
        elif vma.flags & (VM_WRITE | VM_SHARED) == VM_WRITE:
            found["data_vm"] += pages
        if vma.flags & VM_LOCKED:
            found["locked_vm"] += pages
    for name in ("total_vm", "exec_vm", "stack_vm", "data_vm", "locked_vm"):
        if name == "locked_vm" and space.locked_vm > found[name]:
            continue  # what mremap left behind with MREMAP_DONTUNMAP still counts, as in Linux 6.18
        if getattr(space, name) != found[name]:
            raise ValidationError(f"{name} is {getattr(space, name)}, counted {found[name]}")


def _check_tables(space: AddressSpace, census: _Census | None) -> None:
    tables = space.pages.table_frames()
    if len(tables) - 1 != space.pages.tables:
        raise ValidationError(f"{len(tables) - 1} page tables, counted {space.pages.tables}")
    if census is not None:
        if census.tables & set(tables):
            raise ValidationError(f"page tables {sorted(census.tables & set(tables))} belong to two spaces")
        census.tables.update(tables)


def _check_pages(space: AddressSpace, vmas: list[Vma], census: _Census) -> None:
    """Every entry against its VMA, its frame and its permission byte; resident and swapped pages recounted."""
    counts: Counter[str] = Counter()
    allowed: dict[int, int] = {}
    order = iter(vmas)
    vma = next(order, None)
    for address, entry, size in space.pages.entries():
        while vma is not None and vma.end <= address:
            vma = next(order, None)
        if vma is None or address < vma.start or address + size > vma.end:
            raise ValidationError(f"an entry {entry:#x} for {address:#x}, where no VMA is")
        if entry & PTE_SWAP:
            counts["swap_pages"] += 1
            census.slots[(entry & _FRAME_MASK) >> space.page_shift] += 1
        if not entry & PTE_MAPPED:
            continue
        for part in range(0, size, int(space.page_size)):
            pfn = ((entry & _FRAME_MASK) + part) >> space.page_shift
            _check_entry(space, vma, address + part, entry, pfn, census, counts)
            slot = ((address + part) & ((1 << space.window_bits) - 1)) >> space.page_shift
            allowed[slot] = allowed.get(slot, 0) | _allowed(space, address + part, entry, pfn, census)
            if space.permission_byte(address + part) & ~allowed[slot]:
                raise ValidationError(
                    f"page {address + part:#x}: permission byte {space.permission_byte(address + part):#x}, "
                    f"its entry {entry:#x} grants {allowed[slot]:#x}"
                )
    for name in ("anon_pages", "file_pages", "shmem_pages", "swap_pages", "reserved_pages"):
        if getattr(space, name) != counts[name]:
            raise ValidationError(f"{name} is {getattr(space, name)}, counted {counts[name]}")
    if space.window_bits <= _SCANNED_BITS:
        granted = space.permission_bytes()
        for slot in np.flatnonzero(np.frombuffer(granted, np.uint8)).tolist():
            byte = granted[slot]
            if byte & ~allowed.get(slot, 0):
                raise ValidationError(f"page {slot} of the window: permission byte {byte:#x}, no page grants it")


def _check_entry(
    space: AddressSpace, vma: Vma, address: int, entry: int, pfn: int, census: _Census, counts: Counter[str]
) -> None:
    """One mapped page against its VMA and its frame."""
    if entry & PTE_WRITABLE and not vma.flags & VM_WRITE:
        raise ValidationError(f"{address:#x} is writable, {vma!r} is not")
    if bool(entry & PTE_PKEY) != bool(vma.flags & VM_PKEY):
        raise ValidationError(f"{address:#x}: the entry {entry:#x} has another protection key than {vma!r}")
    if entry & PTE_ZERO:
        if entry & PTE_WRITABLE:
            raise ValidationError(f"{address:#x}: the zero page is writable")
        return
    state = census.state(pfn)
    flags = state["flags"]
    census.mapped[pfn] += 1
    if not flags & (FRAME_ANON | FRAME_FILE):
        raise ValidationError(f"{address:#x} maps frame {pfn}, which holds no page: {state}")
    if entry & PTE_WRITABLE and not vma.flags & VM_SHARED and not (flags & FRAME_ANON and flags & FRAME_EXCLUSIVE):
        raise ValidationError(f"{address:#x} may write frame {pfn}, which is not its alone: copy on write is missing")
    if flags & FRAME_HUGETLB:
        counts["reserved_pages"] += 1
    elif flags & FRAME_ANON:
        counts["anon_pages"] += 1
    if flags & FRAME_ANON:
        numbers = [anon.number for anon in vma.chain or ()]
        if state["owner"] not in numbers or state["index"] != vma.pgoff + ((address - vma.start) >> space.page_shift):
            raise ValidationError(f"frame {pfn} at {address:#x} is not where its AnonVma says: {state}, {vma!r}")
        return
    if flags & FRAME_HUGETLB:
        return
    owner: Any = census.frames.owners.get(state["owner"])
    counts["shmem_pages" if getattr(owner, "in_memory", False) else "file_pages"] += 1
    if getattr(owner, "pages", {}).get(state["index"]) != pfn:
        raise ValidationError(f"frame {pfn} at {address:#x} is not in its file's page cache: {state}")


def _allowed(space: AddressSpace, address: int, entry: int, pfn: int, census: _Census) -> int:
    """The permission bits that a page's entry can grant."""
    bits = BYTES
    if entry & (PTE_PRESENT | PTE_PKEY) == PTE_PRESENT:
        if not entry & PTE_ZERO and census.state(pfn)["flags"] & FRAME_FILE:  # loads look a file's bytes up
            return bits | (TOUCHED if entry & PTE_WRITABLE and entry & PTE_DIRTY else 0)
        home = 0 if entry & PTE_ZERO else census.state(pfn)["home"]
        if home in (0, space.window_place(address)):
            bits |= _READ
            if entry & PTE_WRITABLE and entry & PTE_DIRTY:
                bits |= TOUCHED | (_WRITE if home else 0)
    return bits
