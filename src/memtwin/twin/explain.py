# SPDX-License-Identifier: LGPL-2.1-or-later
"""An address in words: which region, page, frame, chunk and free list it lies in, and why these are as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtwin.twin.heapview import heaps, mapped_chunk, tcaches
from memtwin.twin.observe import Sight, address_space, pages_in
from memtwin.units import format_size
from memtwin.views import AddressSpaceView, Chunk, HeapView, Page, Region

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


def explain(process: Process, address: int) -> str:
    """What lies at an address: its region, page, frame and chunk, each in a sentence with its reason."""
    view = address_space(process)
    region = view.at(address)
    if region is None:
        return _nothing(view, address)
    name = f"{region.name}: " if region.name else ""
    said = [f"{address:#x} lies in {name}{_REGIONS[region.kind]} ({region.start:#x}-{region.end:#x}, "
            f"{region.permissions}, {format_size(region.size)})."]  # fmt: skip
    said += [_of_page(process, region, address), _of_chunk(process, region, address)]
    return " ".join(part for part in said if part)


def _nothing(view: AddressSpaceView, address: int) -> str:
    """Why an access would be a segmentation fault, and what lies nearest."""
    below = max((r for r in view.regions if r.end <= address), key=lambda r: r.end, default=None)
    above = min((r for r in view.regions if r.start > address), key=lambda r: r.start, default=None)
    near = [
        f"{format_size(address - below.end)} above the end of {below.name or below.kind}" if below else "",
        f"{format_size(above.start - address)} below {above.name or above.kind}" if above else "",
    ]
    where = " and ".join(part for part in near if part)
    said = f"{address:#x}: nothing is mapped there, {where}; an access is a segmentation fault (code 1, no mapping)."
    if view.brk_start and view.brk_end <= address < view.brk_end + (1 << 30) and below and below.kind == "heap":
        said += f" The break is at {view.brk_end:#x}: the heap ends there."
    return said


def _of_page(process: Process, region: Region, address: int) -> str:
    page = Sight(process).page_at(address)
    if region.permissions.startswith("---"):
        return "No access is allowed: each is a segmentation fault (code 2, the mapping does not allow it)."
    return _PAGES[page.state](process, region, page)


def _absent(process: Process, region: Region, page: Page) -> str:
    how = "found in the file" if region.kind in ("text", "rodata", "library", "data") else "a frame of zeros"
    why = "because nothing has touched it: the next access is a page fault"
    return f"Its page {page.address:#x} is not in memory, {why} ({how})."


def _zero(process: Process, region: Region, page: Page) -> str:
    return ("Its page was only read so far: it is the page of zeros that all processes share, and a write will get a "
            "frame of its own.")  # fmt: skip


def _anonymous(process: Process, region: Region, page: Page) -> str:
    may = "" if page.writable else " It is mapped read-only for now: a write is a fault that may keep the frame."
    return f"Its page lies in frame {page.frame}, this process's own because it was written.{may}"


def _file(process: Process, region: Region, page: Page) -> str:
    return f"Its page lies in frame {page.frame} of the page cache, which belongs to the file."


def _shared(process: Process, region: Region, page: Page) -> str:
    frame = page.frame or 0
    others = sorted({
        other.pid
        for other in process.machine.processes.values()
        if other is not process and pages_in(other, frame, frame + 1)
    })  # fmt: skip
    who = ", ".join(f"process {pid}" for pid in others[:4]) or "another mapping"
    if region.permissions.endswith("s"):
        return f"Its page lies in frame {page.frame}, which {who} maps too: a write is seen there."
    copy = "" if page.writable else ", and a write copies the page first"
    return f"Its page lies in frame {page.frame}, which {who} maps too{copy}."


def _swapped(process: Process, region: Region, page: Page) -> str:
    return f"Its page lies in swap slot {page.slot}, where it was paged out to: the next access is a major fault."


_PAGES = {"absent": _absent, "zero": _zero, "anonymous": _anonymous, "file": _file, "shared": _shared,
          "swapped": _swapped}  # fmt: skip


def _of_chunk(process: Process, region: Region, address: int) -> str:
    if region.kind not in ("heap", "mapping"):
        return ""
    for heap in heaps(process):
        chunk = heap.at(address)
        if chunk is not None:
            return _chunk(process, heap, chunk, address)
    alone = mapped_chunk(process, region.start, region.end, address)
    if alone is None:
        return ""
    size = f"the chunk at {alone.address:#x} of {alone.size} bytes"
    return (f"It is {_part(alone, address)}: {size} has a mapping of its own, because it is not smaller than glibc's "
            "threshold; free gives it back at once.")  # fmt: skip


def _chunk(process: Process, heap: HeapView, chunk: Chunk, address: int) -> str:
    if chunk.state == "top":
        return f"It lies in the top of the {heap.arena} arena, {chunk.size} bytes that no block was cut from yet."
    where = "in use" if chunk.state == "live" else _where_free(heap, chunk)
    if chunk.pointer in tcaches(process):
        where = "in use by glibc itself: a thread's tcache, made when it first needed one"
    return f"It is {_part(chunk, address)}: the chunk at {chunk.address:#x} of {chunk.size} bytes, {where}."


def _part(chunk: Chunk, address: int) -> str:
    inside = address - chunk.pointer
    return f"byte {inside} of its block" if inside >= 0 else "the header of a block"


def _where_free(heap: HeapView, chunk: Chunk) -> str:
    if not chunk.list:
        return "free"
    row = next(row for row in heap.lists if row.name == chunk.list)
    place = row.chunks.index(chunk.address) + 1
    why = {
        "tcache": "its thread keeps it for the next request of this size",
        "fastbin": "its neighbours still see it in use, so that it does not join them yet",
        "bin": "it has joined its free neighbours" if chunk.list != "unsorted" else "the next malloc will sort it",
    }[chunk.state]
    return f"free, number {place} of {len(row.chunks)} on the list {chunk.list!r}: {why}"
