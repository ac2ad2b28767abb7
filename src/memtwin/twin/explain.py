# SPDX-License-Identifier: LGPL-2.1-or-later
"""An address in words: which region, page, frame, chunk and free list it lies in, and why these are as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtwin.languages import Tell
from memtwin.twin.heapview import heaps, mapped_chunk, tcaches
from memtwin.twin.observe import Sight, address_space, pages_in
from memtwin.twin.unmapped import of_nothing
from memtwin.twin.words import KOREAN
from memtwin.units import format_size
from memtwin.views import Chunk, Frame, HeapView, Page, Region

if TYPE_CHECKING:
    from memtwin.twin.process import Process

_REGIONS = {
    "text": "the program's code, mapped from its file and never written",
    "rodata": "the program's constants, mapped from its file and never written",
    "data": "the program's variables that begin with a value: its file's pages, copied at the first write",
    "bss": "variables that begin as zero: they take no room in the file",
    "heap": "the heap, which ends at the break: malloc moves it up when the top is used up",
    "stack": "the stack, which grows down by itself as the program uses it",
    "mapping": "memory from mmap, outside the heap",
    "library": "a library's file",
    "kernel": "the kernel's own, the same in every process",
}


def explain(process: Process, address: int, language: str = "en") -> str:
    """What lies at an address: its region, page, frame and chunk, each in a sentence with its reason.

    language: "en" or "ko". UserError: another one.
    """
    tell = Tell(KOREAN, language)
    view = address_space(process)
    region = view.at(address)
    if region is None:
        return of_nothing(process, view, address, tell)
    name = f"{region.name}: " if region.name else ""
    said = [tell("{address:#x} lies in {region} ({start:#x}-{end:#x}, {rights}, {size}).", address=address,
                 region=name + tell(_REGIONS[region.kind]), start=region.start, end=region.end,
                 rights=region.permissions, size=format_size(region.size))]  # fmt: skip
    said += [_of_page(process, region, address, tell), _of_chunk(process, region, address, tell)]
    return " ".join(part for part in said if part)


def _of_page(process: Process, region: Region, address: int, tell: Tell) -> str:
    sight = Sight(process)
    page = sight.page_at(address)
    if region.permissions.startswith("---"):
        return tell("No access is allowed: each is a segmentation fault (code 2, the mapping does not allow it).")
    if sight.is_execute_only(address):
        return tell(
            "It may only be executed: its protection key makes each load and store a segmentation fault (code 4)."
        )
    if sight.is_guard(address):
        return tell("A guard page (MADV_GUARD_INSTALL): each access is a segmentation fault (code 1), though the "
                    "region would allow it.")  # fmt: skip
    if page.state == "absent" and sight.is_past_end(address):
        return tell("The file ends before that page: an access is a bus error (SIGBUS, code 2).")
    said = [_of_huge(sight, address, tell), _PAGES[page.state](process, region, page, tell)]
    if "w" not in region.permissions:
        said.append(tell("A write is a segmentation fault (code 2): the region is read-only."))
    return " ".join(part for part in said if part)


def _of_huge(sight: Sight, address: int, tell: Tell) -> str:
    huge = sight.huge(address)
    if huge is None:
        return ""
    return tell("One entry maps the huge page of {size} at {start:#x}.", size=format_size(huge.size),
                start=huge.address)  # fmt: skip


def _absent(process: Process, region: Region, page: Page, tell: Tell) -> str:
    of_file = region.kind in ("text", "rodata", "library", "data") or Sight(process).is_of_file(page.address)
    how = tell("found in the file" if of_file else "a frame of zeros")
    return tell("Its page {address:#x} is not in memory, because nothing has touched it: the next access is a page "
                "fault ({how}).", address=page.address, how=how)  # fmt: skip


def _zero(process: Process, region: Region, page: Page, tell: Tell) -> str:
    return tell("Its page was only read so far: it is the page of zeros that all processes share, and a write will get "
                "a frame of its own.")  # fmt: skip


def _anonymous(process: Process, region: Region, page: Page, tell: Tell) -> str:
    may = ""
    if not page.writable and "w" in region.permissions:
        may = tell(" It is mapped read-only for now: a write is a fault that may keep the frame.")
    return tell("Its page lies in frame {frame}, this process's own because it was written.", frame=page.frame) + may


def _file(process: Process, region: Region, page: Page, tell: Tell) -> str:
    return tell("Its page lies in frame {frame} of the page cache, which belongs to the file.", frame=page.frame)


def _shared(process: Process, region: Region, page: Page, tell: Tell) -> str:
    frame = page.frame or 0
    others = sorted({
        other.pid
        for other in process.machine.processes.values()
        if other is not process and pages_in(other, frame, frame + 1)
    })  # fmt: skip
    who = ", ".join(tell("process {pid}", pid=pid) for pid in others[:4]) or tell("another mapping")
    if region.permissions.endswith("s"):
        return tell(
            "Its page lies in frame {frame}, which {who} maps too: a write is seen there.", frame=frame, who=who
        )
    if page.writable or "w" not in region.permissions:
        return tell("Its page lies in frame {frame}, which {who} maps too.", frame=frame, who=who)
    return tell("Its page lies in frame {frame}, which {who} maps too, and a write copies the page first.", frame=frame,
                who=who)  # fmt: skip


def _swapped(process: Process, region: Region, page: Page, tell: Tell) -> str:
    return tell("Its page lies in swap slot {slot}, where it was paged out to: the next access is a major fault.",
                slot=page.slot)  # fmt: skip


_PAGES = {"absent": _absent, "zero": _zero, "anonymous": _anonymous, "file": _file, "shared": _shared,
          "swapped": _swapped}  # fmt: skip


def _of_chunk(process: Process, region: Region, address: int, tell: Tell) -> str:
    if region.kind not in ("heap", "mapping"):
        return ""
    for heap in heaps(process):
        chunk = heap.at(address)
        if chunk is not None:
            return _chunk(process, heap, chunk, address, tell)
    alone = mapped_chunk(process, region.start, region.end, address)
    if alone is None:
        return ""
    return tell("It is {part}: the chunk at {chunk:#x} of {size} bytes has a mapping of its own, because it is not "
                "smaller than glibc's threshold; free gives it back at once.", part=_part(alone, address, tell),
                chunk=alone.address, size=alone.size)  # fmt: skip


def _chunk(process: Process, heap: HeapView, chunk: Chunk, address: int, tell: Tell) -> str:
    if chunk.state == "top":
        return tell("It lies in the top of the {arena} arena, {size} bytes that no block was cut from yet.",
                    arena=heap.arena, size=chunk.size)  # fmt: skip
    where = tell("in use") if chunk.state == "live" else _where_free(heap, chunk, tell)
    if chunk.pointer in tcaches(process):
        where = tell("in use by glibc itself: a thread's tcache, made when it first needed one")
    return tell("It is {part}: the chunk at {chunk:#x} of {size} bytes, {where}.", part=_part(chunk, address, tell),
                chunk=chunk.address, size=chunk.size, where=where)  # fmt: skip


def _part(chunk: Chunk, address: int, tell: Tell) -> str:
    inside = address - chunk.pointer
    return tell("byte {number} of its block", number=inside) if inside >= 0 else tell("the header of a block")


_REASONS = {
    "tcache": "its thread keeps it for the next request of this size",
    "fastbin": "its neighbours still see it in use, so that it does not join them yet",
    "bin": "it has joined its free neighbours",
    "unsorted": "the next malloc will sort it",
}


def _where_free(heap: HeapView, chunk: Chunk, tell: Tell) -> str:
    if not chunk.list:
        return tell("free")
    row = next(row for row in heap.lists if row.name == chunk.list)
    why = _REASONS["unsorted" if chunk.list == "unsorted" else chunk.state]
    place = row.chunks.index(chunk.address) + 1
    return tell("free, number {number} of {count} on the list {list!r}: {why}", number=place, count=len(row.chunks),
                list=chunk.list, why=tell(why))  # fmt: skip


def explain_frame(frame: Frame, language: str = "en") -> str:
    """What a frame holds and who maps it. language: "en" or "ko"."""
    tell = Tell(KOREAN, language)
    owners = ", ".join(tell("process {pid} at {address:#x}", pid=pid, address=at) for pid, at in frame.owners[:4])
    return tell("Frame {number} is {kind}; mapped by {owners}.", number=frame.number, kind=tell(frame.kind),
                owners=owners or tell("no process"))  # fmt: skip
