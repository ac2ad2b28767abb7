# SPDX-License-Identifier: LGPL-2.1-or-later
"""Random operations on reserved huge pages, for machines that have a pool of them; see generate.py.

Two things are left out, as they would harm the host. Of a mapping that pages are promised to only the whole is moved:
Linux loses the promise to the rest for ever (mm/mremap.c, fixup_hugetlb_reservations). And in a sequence that moves
such mappings nobody forks: the parent's search for pages that it could take from its children is made at the same
address, and would not end (mm/hugetlb.c, unmap_ref_private).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtwin.verify.layout import HUGE_NAME, Span
from memtwin.verify.operations import NO_FILE, Operation

if TYPE_CHECKING:
    from memtwin.verify.generate import Generator

PAGE, HUGE = 4096, 2 << 20
PRIVATE, SHARED, FIXED, ANONYMOUS, HUGETLB, NOREPLACE = 0x2, 0x1, 0x10, 0x20, 0x40000, 0x100000
SIZES = (0, 0, 0, 0, 21 << 26, 21 << 26, 30 << 26, 16 << 26, 63 << 26)  # log2 of the size of pages; 1 GiB: none free
FLAGS = ((0x4000, 0.3), (0x8000, 0.1), (0x2000, 0.06), (0x100, 0.02), (0x20000, 0.03))  # NORESERVE, POPULATE, LOCKED …
ZONE, TARGET_ZONE = 0x40000000, 0x80000000
ZONE_PAGES = 24
PROTECTIONS = (3, 3, 3, 3, 3, 1, 0, 7, 4)
ADVICE = (0, 2, 3, 4, 4, 4, 4, 8, 10, 11, 14, 15, 16, 17, 18, 19, 22, 23, 24, 102, 103)  # as generate.ADVICE


def huge_spans(spans: list[Span]) -> list[Span]:
    """The mappings of reserved huge pages."""
    return [span for span in spans if span.name == HUGE_NAME]


def map_huge(g: Generator, process: int) -> Operation | None:
    """An mmap with MAP_HUGETLB."""
    r = g.random
    flags = ANONYMOUS | HUGETLB | r.choice(SIZES) | r.choice((PRIVATE, PRIVATE, PRIVATE, SHARED, 3))
    address, length = 0, HUGE * r.choice((1, 1, 1, 2, 2, 3, 4, 6, 9)) - r.choice((0, 0, 0, 0, 1, PAGE, HUGE - 1))
    if r.random() < 0.6:
        address = ZONE + HUGE * r.randrange(ZONE_PAGES) + r.choice((0,) * 12 + (PAGE, 5, HUGE - PAGE))
        flags |= r.choice((0, FIXED, FIXED, NOREPLACE))
    for flag, chance in FLAGS:
        if r.random() < chance:
            flags |= flag
    if flags & FIXED and not g._is_safe(process, address, length + HUGE):
        return None
    offset = r.choice((0,) * 12 + (PAGE, HUGE, 2 * HUGE, 7))
    return Operation(process, "mmap", (address, length, r.choice(PROTECTIONS), flags, NO_FILE, offset))


def use_huge(g: Generator, process: int) -> Operation | None:
    """Any other call for a part of such a mapping, or accesses to it."""
    r = g.random
    spans = huge_spans(g._spans[process])
    if not spans:
        return map_huge(g, process)
    span = r.choice(spans)
    pages = (span.end - span.start) // HUGE
    first = r.randrange(min(pages, 12))
    address = span.start + HUGE * first
    length = HUGE * r.randint(1, min(pages - first, 6))
    kind = r.choice(("touch",) * 12 + ("munmap",) * 3 + ("mprotect",) * 4 + ("madvise",) * 4 + ("mlock", "mlock2")
                    + ("munlock", "mincore", "msync") + ("mremap",) * (6 if g.moving else 1))  # fmt: skip
    if kind == "touch":
        return _touch(g, process, address, length)
    if r.random() < 0.15:
        address += PAGE * r.choice((1, 3, 511))
    if r.random() < 0.15:
        length += PAGE * r.choice((-511, -1, 1, 5))
    if kind == "mremap":
        return _mremap(g, process, span, address, length)
    more = {"mprotect": PROTECTIONS, "madvise": ADVICE, "mlock2": (0, 1), "msync": (0, 1, 4)}.get(kind)
    if kind == "mincore":
        length = min(length, HUGE * 4)
    return Operation(process, kind, (address, length, *((r.choice(more),) if more else ())))


def _touch(g: Generator, process: int, address: int, length: int) -> Operation:
    r = g.random
    kind = r.choice(("load", "store", "store", "touch_read", "touch_write", "touch_write"))
    if kind.startswith("touch_"):
        return Operation(process, kind, (address + PAGE * r.randrange(512), r.choice((1, 2, 600))))
    stride = r.choice((HUGE, HUGE, PAGE, 123 * PAGE))
    times = max(min(length // stride, 40), 1)
    more = (r.randrange(1, 256),) if kind == "store" else ()
    return Operation(process, kind, (address + r.choice((0, 0, 1, PAGE * 7)), times, stride, *more))


def _mremap(g: Generator, process: int, span: Span, address: int, length: int) -> Operation | None:
    r = g.random
    if r.random() < 0.6:
        address, length = span.start, span.end - span.start
    new = r.choice((length, length, length - HUGE, length + HUGE, length - PAGE, length // 2))
    flags = r.choice((0, 1, 1, 3, 3, 3, 3, 5, 7))
    target = TARGET_ZONE + HUGE * r.randrange(ZONE_PAGES) + r.choice((0,) * 9 + (PAGE,)) if flags & 2 else 0
    return Operation(process, "mremap", (address, length, max(new, 0), flags, target))


def is_harmless(g: Generator, operation: Operation) -> bool:
    """Whether the host may play it: see the module's text."""
    if operation.name != "mremap":
        return True
    address, length, _, flags, _ = operation.arguments
    end = address + (length + HUGE - 1) // HUGE * HUGE
    met = [span for span in huge_spans(g._spans[operation.process]) if span.start < end and span.end > address]
    if not met or not flags & 2:
        return True
    return g.moving and all(address <= span.start and span.end <= end for span in met)
