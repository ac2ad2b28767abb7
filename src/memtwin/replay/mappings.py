# SPDX-License-Identifier: LGPL-2.1-or-later
"""The mappings that are not the allocator's: the program's own, and those that nobody saw being made.

The allocator finds its place among them, so that they must lie in the twin where they lay in the program. The
program's calls are recorded with their results and performed at those addresses. What the dynamic linker and the C
library map inside is not seen; a snapshot of /proc/PID/maps stands in the trace wherever such a mapping could have
moved something, and what it shows that the twin neither has nor owns is mapped then, and what it misses is unmapped.

`foreign` are the ranges that are not the allocator's; all else that is mapped in the twin is. In a what-if replay the
allocator's own mappings lie elsewhere than recorded, so that a snapshot cannot be read without knowing which of its
ranges were the allocator's: it takes the corrections that the replay of what really happened has found. Where one of
the allocator's mappings is in the way of a recorded one, the recorded one goes where the kernel would put it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from memtwin.kernel.addrspace import AddressSpace
from memtwin.replay.intervals import Intervals, Range

if TYPE_CHECKING:
    from memtwin.trace.header import Header
    from memtwin.trace.reader import MapsSnapshot, Vma

MAP_SHARED, MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS, MAP_NORESERVE = 0x01, 0x02, 0x10, 0x20, 0x4000
MREMAP_DONTUNMAP = 4
MADV_DONTNEED, MADV_FREE, MADV_REMOVE = 4, 8, 9
FAILED = 2**64 - 1
_NOT_PLACED = ("[stack]", "[vdso]", "[vvar]", "[vvar_vclock]", "[vsyscall]", "[uprobes]")

Spans = list[tuple[int, int]]
Correction = tuple[Spans, list[tuple[int, int, str]]]  # unmap, and map with the label


def protection(permissions: str) -> int:
    """PROT_* of "rw-p"."""
    return sum(bit for bit, letter in ((1, "r"), (2, "w"), (4, "x")) if letter in permissions)


def mmap_base_of(vmas: Iterable[Vma], page_size: int) -> int:
    """Where the kernel begins to place mappings, downwards: the end of the first that it placed, the linker's."""
    ends = [vma.end for vma in vmas if vma.path not in _NOT_PLACED]
    return max(ends) if ends else 0


class Mappings:
    """The foreign mappings of one process in `space`.

    corrections: by number of the snapshot, what it changed. A what-if replay is given those of the real one.
    """

    def __init__(self, space: AddressSpace, corrections: dict[int, Correction] | None = None) -> None:
        self.space = space
        self.foreign = Intervals()
        self.corrections: dict[int, Correction] = {} if corrections is None else corrections
        self._given = corrections is not None

    def fork(self, space: AddressSpace, corrections: dict[int, Correction] | None) -> Mappings:
        """The child's mappings, as they are here."""
        child = Mappings(space, corrections)
        child.foreign = self.foreign.copy()
        return child

    def begin(self, header: Header, snapshot: MapsSnapshot | None) -> None:
        """Put in what was mapped before the first event, and the heap as it was then."""
        vmas = snapshot.vmas if snapshot else ()
        base = mmap_base_of(vmas, header.page_size) or self.space.mmap_base
        self.space.set_layout(base, header.start_brk or self.space.brk_start)
        for vma in vmas:
            if vma.path in ("[heap]", "[vsyscall]"):
                continue
            flags = MAP_SHARED if "s" in vma.permissions else MAP_PRIVATE
            self.space.restore_vma(vma.start, vma.end, protection(vma.permissions), flags, vma.offset, vma.path or None)
            self.foreign.add(Range(vma.start, vma.end))
        if header.first_break > header.start_brk:
            self.space.sys_brk(header.first_break)
            # what is there already was not made by the allocator: it has not been called
            self.foreign.add(Range(header.start_brk, header.first_break))

    def add(self, start: int, end: int, label: str) -> None:
        """Put in a mapping that is not the allocator's."""
        self.space.restore_vma(start, end, 3, MAP_PRIVATE, 0, label or None)
        self.foreign.add(Range(start, end))

    # what the program did

    def mmap(self, address: int, length: int, prot: int, flags: int) -> None:
        """The program mapped `length` bytes and got `address`."""
        start, end = address, address + self._pages(length)
        if flags & MAP_FIXED:
            self._unmap(start, end)
        if self._occupied(start, end):
            found = self.space.sys_mmap(0, end - start, prot, MAP_PRIVATE | MAP_ANONYMOUS, None, 0)
            if found > 0:
                self.foreign.add(Range(start, end, found - start))
            return
        if flags & MAP_ANONYMOUS and not flags & MAP_SHARED:
            kept = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | flags & MAP_NORESERVE
            self.space.sys_mmap(start, end - start, prot, kept, None, 0)
        else:
            self.space.restore_vma(start, end, prot & 7, flags & 3, 0, "(file)")
        self.foreign.add(Range(start, end))

    def munmap(self, address: int, length: int) -> None:
        """The program unmapped a range; what the allocator has there stays."""
        self._unmap(address, address + self._pages(length))

    def mremap(self, old: int, old_length: int, new: int, new_length: int, flags: int) -> None:
        """The program moved, grew or shrank a mapping, which now lies at `new`."""
        if not flags & MREMAP_DONTUNMAP:
            self._unmap(old, old + self._pages(old_length))
        self.mmap(new, new_length, 3, MAP_PRIVATE | MAP_ANONYMOUS)

    def madvise(self, address: int, length: int, advice: int) -> None:
        """The program gave pages back: of interest where they are the allocator's, which lie where recorded."""
        if advice in (MADV_DONTNEED, MADV_FREE, MADV_REMOVE):
            for start, end in self.foreign.missing(address, address + self._pages(length)):
                self.space.sys_madvise(start, end - start, MADV_DONTNEED)

    def break_moved(self, recorded: int, old: int, new: int) -> None:
        """The program moved the break from `old` to `new`, in the recording from `recorded`; that part is foreign."""
        if new > old:
            self.foreign.add(Range(recorded, recorded + new - old, old - recorded))
        else:
            self.foreign.remove(recorded + new - old, recorded)

    # what nobody saw

    def snapshot(self, snapshot: MapsSnapshot) -> None:
        """Make the foreign mappings those of the snapshot."""
        if not self._given:
            self.corrections[snapshot.number] = self._compare(snapshot)
        unmap, remap = self.corrections.get(snapshot.number, ([], []))
        for start, end in unmap:
            self._unmap(start, end)
        for start, end, label in remap:
            self._restore(start, end, label)

    def _compare(self, snapshot: MapsSnapshot) -> Correction:
        here = Intervals(Range(start, end) for start, end in joined((vma.start, vma.end) for vma in self.space.vmas()))
        there = Intervals(Range(vma.start, vma.end) for vma in snapshot.vmas if vma.path != "[vsyscall]")
        unmap = [gap for one in self.foreign for gap in there.missing(one.start, one.end)]
        remap = [
            (start, end, vma.path)
            for vma in snapshot.vmas
            if vma.path not in ("[vsyscall]", "[heap]")
            for start, end in here.missing(vma.start, vma.end)
        ]
        return unmap, remap

    def owned(self) -> Spans:
        """What is mapped in the twin and not foreign: the allocator's, and the heap."""
        here = Intervals(Range(one.start + one.shift, one.end + one.shift) for one in self.foreign)
        mapped = joined((vma.start, vma.end) for vma in self.space.vmas())
        return [gap for start, end in mapped for gap in here.missing(start, end)]

    def _restore(self, start: int, end: int, label: str) -> None:
        if self._occupied(start, end):
            self.mmap(start, end - start, 3, MAP_PRIVATE | MAP_ANONYMOUS)
            return
        self.add(start, end, label)

    def _unmap(self, start: int, end: int) -> None:
        for one in self.foreign.remove(start, end):
            self.space.sys_munmap(one.start + one.shift, one.end - one.start)

    def _occupied(self, start: int, end: int) -> bool:
        return any(vma.start < end and start < vma.end for vma in self.space.vmas())

    def _pages(self, length: int) -> int:
        return (length + self.space.page_size - 1) & ~(self.space.page_size - 1)


def joined(spans: Iterable[tuple[int, int]]) -> Spans:
    """Sorted spans, with those that touch made one."""
    result: Spans = []
    for start, end in spans:
        if result and result[-1][1] == start:
            result[-1] = (result[-1][0], end)
        else:
            result.append((start, end))
    return result
