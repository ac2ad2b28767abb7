# SPDX-License-Identifier: LGPL-2.1-or-later
"""The address space of a process, high addresses at the top; its regions one by one; and the break that moves."""

from __future__ import annotations

from itertools import groupby

from memtwin.languages import Tell
from memtwin.pictures.canvas import Canvas, text_width
from memtwin.pictures.words import in_language
from memtwin.units import format_size
from memtwin.views import AddressSpaceView, Region

NAMES = {"text": "text", "rodata": "constants", "data": "data", "bss": "bss", "heap": "heap", "mapping": "mapping",
         "library": "library", "stack": "stack", "kernel": "the kernel's"}  # fmt: skip
_BOX, _WIDE = 190, 190  # where the boxes begin, and how wide they are
_LONGEST_NAME = 48  # letters of a file's name beside its box; the whole name shows on hovering


def address_space(
    view: AddressSpaceView, before: AddressSpaceView | None = None, language: str = "en"
) -> str:  # fmt: skip
    """The regions of a process from top to bottom, a library's as one; gaps are dashed; regions that are new or moved
    since `before` are framed. Heights grow with the logarithm of the size, or nothing small could be seen."""
    tell = in_language(language)
    rows = [(group, _height(group[0].end - group[-1].start)) for group in _groups(view)]
    known = {(region.start, region.end) for region in before.regions} if before else None
    height = 66 + sum(tall + 14 for _, tall in rows)
    longest = max((text_width(_said(group, tell), 10) for group, _ in rows), default=0)
    title = tell("Address space of process {pid}", pid=view.pid)
    sheet = Canvas(max(640, int(_BOX + _WIDE + 16 + longest)), height, title, _described(view, tell), tell)
    y, above = 34.0, 0
    for group, tall in rows:
        if above and group[0].end < above:
            hover = tell("nothing mapped: {size}", size=format_size(above - group[0].end))
            sheet.box(_BOX, y, _WIDE, 10, "gap", hover)
        y += 12 if above else 0
        changed = known is not None and any((region.start, region.end) not in known for region in group)
        _row(sheet, view, group, y, tall, changed)
        y, above = y + tall + 2, group[-1].start
    kinds = {region.kind for region in view.regions}
    sheet.legend(8, height - 12, {kind: tell(name) for kind, name in NAMES.items() if kind in kinds})
    return sheet.svg()


def _groups(view: AddressSpaceView) -> list[list[Region]]:
    """Regions from high to low; neighbours that belong to one library or to the kernel are one group."""
    regions = sorted(view.regions, key=lambda region: -region.start)
    found: list[list[Region]] = []
    for region in regions:
        last = found[-1][-1] if found else None
        alike = last is not None and last.kind == region.kind and last.start == region.end
        if alike and (region.kind == "kernel" or (region.kind == "library" and last and last.name == region.name)):
            found[-1].append(region)
        else:
            found.append([region])
    return found


def _row(sheet: Canvas, view: AddressSpaceView, group: list[Region], y: float, tall: float, changed: bool) -> None:
    high, low, tell = group[0], group[-1], sheet.tell
    size = high.end - low.start
    rights = " ".join(region.permissions[:3] for region in reversed(group))
    hover = "; ".join(f"{region.start:#x}-{region.end:#x} {region.permissions} {region.name}" for region in group)
    sheet.box(_BOX, y, _WIDE, tall, high.kind, f"{hover} {format_size(size)}", changed, key=f"{low.start:#x}")
    sheet.say(_BOX - 8, y + 10, f"{high.end:#x}", size=10, anchor="end", mono=True, faint=True)
    if tall > 22:
        sheet.say(_BOX - 8, y + tall - 2, f"{low.start:#x}", size=10, anchor="end", mono=True, faint=True)
    rights = rights if len(group) < 3 else tell("{count} mappings", count=len(group))
    sheet.fit(_BOX, y + tall / 2 + 4, _WIDE, f"{tell(NAMES[high.kind])} {rights}")
    sheet.say(_BOX + _WIDE + 8, y + tall / 2 + 4, _said(group, tell), size=10)
    if high.kind == "heap" and view.brk_end:
        sheet.arrow(_BOX + _WIDE + 210, y + 1, _BOX + _WIDE + 4, y + 1)
        sheet.say(_BOX + _WIDE + 214, y + 5, tell("break"), size=10)


def _said(group: list[Region], tell: Tell) -> str:
    """Whose a box is, how large, and how much of it is in memory."""
    high, resident = group[0], sum(region.resident for region in group)
    name = "" if high.kind in ("kernel", "heap", "stack") else high.name.rsplit("/", 1)[-1]
    name = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
    size = format_size(high.end - group[-1].start)
    there = "{size}, {count} page in memory" if resident == 1 else "{size}, {count} pages in memory"
    return f"{name} {tell(there, size=size, count=resident)}".strip()


def _height(size: int) -> float:
    return 16 + 2.2 * max(0, size.bit_length() - 12)


def _described(view: AddressSpaceView, tell: Tell) -> str:
    return "; ".join(
        tell("{kind} from {start:#x} to {end:#x} {rights}", kind=tell(NAMES[region.kind]), start=region.start,
             end=region.end, rights=region.permissions)
        for region in view.regions
    )  # fmt: skip


_ORIGINS = {"text": "the program's file: code and string constants", "rodata": "the program's file: constants",
            "data": "the program's file, copied on write: variables with a value",
            "bss": "zero pages: variables without a value, nothing in the file",
            "heap": "zero pages, up to the break", "stack": "zero pages, grows down by itself",
            "mapping": "mmap", "library": "the library's file", "kernel": "the kernel"}  # fmt: skip


def regions(view: AddressSpaceView, before: AddressSpaceView | None = None, language: str = "en") -> str:
    """What a process is made of, one row a kind from high to low: how large, where its pages come from, and how much
    of it is in memory (the filled part of the bar). Kinds that changed since `before` are framed."""
    rows, old, tell = _sums(view), dict(_sums(before)) if before else None, in_language(language)
    title = tell("Regions of process {pid}", pid=view.pid)
    sheet = Canvas(760, 52 + 30 * len(rows), title, _regions_described(rows, tell), tell)
    for place, (kind, (size, resident)) in enumerate(rows):
        y = 34 + 30 * place
        changed = old is not None and old.get(kind) != (size, resident)
        share = min(1.0, resident / size) if size else 0
        sheet.say(96, y + 15, tell(NAMES[kind]), size=11, anchor="end", weight="600")
        sheet.box(104, y, 200, 20, "absent", tell("{size} mapped", size=format_size(size)), changed)
        if resident:
            hover = tell("{size} in memory", size=format_size(resident))
            sheet.box(104, y, max(200 * share, 3), 20, kind, hover)
        part = tell("{part} of {size}", part=format_size(resident), size=format_size(size))
        sheet.say(312, y + 14, part, size=10)
        sheet.say(440, y + 14, tell(_ORIGINS[kind]), size=10, faint=True)
    return sheet.svg()


def _sums(view: AddressSpaceView) -> list[tuple[str, tuple[int, int]]]:
    """(kind, (bytes, bytes in memory)) from high to low."""
    order = ["stack", "kernel", "library", "mapping", "heap", "bss", "data", "rodata", "text"]
    found = {
        kind: (sum(r.size for r in group), sum(r.resident for r in group) * view.page_size)
        for kind, group in (
            (kind, list(members)) for kind, members in groupby(sorted(view.regions, key=_kind_of), key=_kind_of)
        )
    }
    return [(kind, found[kind]) for kind in order if kind in found]


def _kind_of(region: Region) -> str:
    return region.kind


def _regions_described(rows: list[tuple[str, tuple[int, int]]], tell: Tell) -> str:
    return "; ".join(
        f"{tell(NAMES[kind])}: {tell('{part} of {size}', part=format_size(there), size=format_size(size))}"
        for kind, (size, there) in rows
    )


def moving_break(view: AddressSpaceView, before: AddressSpaceView | None = None, language: str = "en") -> str:
    """The heap from its start to the break; where it has moved, what came (framed) or went (dashed) beside it."""
    start, now = view.brk_start, view.brk_end
    old = before.brk_end if before else now
    tell = in_language(language)
    title = tell("The break of process {pid}", pid=view.pid)
    sheet = Canvas(680, 124, title, _break_described(view, old, tell), tell)
    scale = 520 / (max(now, old, start + 1) - start)
    here, was = 20 + (now - start) * scale, 20 + (old - start) * scale
    sheet.box(20, 42, max(min(here, was) - 20, 1), 30, "heap", f"{start:#x}-{min(now, old):#x}")
    sheet.fit(20, 61, min(here, was) - 20, format_size(min(now, old) - start))
    if old != now:
        come = now > old
        kind, hover = ("heap", "new") if come else ("gap", "given back")
        sheet.box(min(here, was), 42, abs(here - was), 30, kind, tell(hover), come)
        sheet.fit(
            min(here, was), 61, abs(here - was), f"{'+' if come else '−'}{format_size(abs(now - old))}", weight="600"
        )
        sheet.line(was, 36, was, 84, faint=True)
        anchor = "middle" if was < 540 else "end"
        sheet.say(max(was, 140), 96, tell("it was {at:#x}", at=old), mono=True, size=10, faint=True, anchor=anchor)
    sheet.say(20, 36, tell("start {at:#x}", at=start), mono=True, size=10, faint=True)
    label = tell("break {at:#x}", at=now)
    sheet.arrow(here, 106, here, 76)
    right = here + 6 + text_width(label, 10, True) < 676
    sheet.say(here + 6 if right else here - 6, 112, label, mono=True, size=10, anchor="start" if right else "end")
    return sheet.svg()


def _break_described(view: AddressSpaceView, old: int, tell: Tell) -> str:
    way = "" if old == view.brk_end else tell("; it was at {at:#x}", at=old)
    return tell("The heap begins at {start:#x}; the break is at {end:#x}", start=view.brk_start, end=view.brk_end) + way
