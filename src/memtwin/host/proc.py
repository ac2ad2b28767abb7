# SPDX-License-Identifier: LGPL-2.1-or-later
"""What /proc tells of a process's pages: smaps, pagemap, status, and the map counts of frames.

Sizes are bytes, as everywhere; the kernel's kB are multiplied out. Sources: proc_pid_smaps(5), proc_pid_pagemap(5),
Documentation/admin-guide/mm/pagemap.rst.
"""

from __future__ import annotations

import os
import re
from array import array
from dataclasses import dataclass
from pathlib import Path

from memtwin.errors import UserError

# A pagemap entry:
#
#    63   62   61     60..59  58    57    56          55          54..0
#   +----+----+------+------+-----+-----+-----------+----------+-------------------------------+
#   |PRES|SWAP| FILE |      |GUARD| UFFD| EXCLUSIVE |SOFT DIRTY| PFN (present; root) or swap    |
#   +----+----+------+------+-----+-----+-----------+----------+-------------------------------+
PRESENT, SWAPPED, FILE_PAGE, GUARD, EXCLUSIVE = 1 << 63, 1 << 62, 1 << 61, 1 << 58, 1 << 56
PFN_MASK = (1 << 55) - 1
_FIELD = re.compile(r"^(\w+): +(\d+) kB$", re.MULTILINE | re.ASCII)
STATE_BITS = PRESENT | SWAPPED | FILE_PAGE | GUARD | EXCLUSIVE


@dataclass
class Smap:
    """One VMA of /proc/PID/smaps. head: its line as in maps; sizes: field name to bytes; flags: VmFlags' codes."""

    start: int
    end: int
    head: bytes
    sizes: dict[str, int]
    flags: frozenset[str]


def parse_smaps(text: bytes) -> list[Smap]:
    """The VMAs that an smaps text describes, in its order; [vsyscall] included."""
    found: list[Smap] = []
    for block in text.decode(errors="surrogateescape").split("\nVmFlags:"):
        flags, _, rest = block.partition("\n") if found else ("", "", block)
        if found:
            found[-1].flags = frozenset(flags.split())
        head, _, fields = rest.partition("\n")
        if head:
            start, _, end = head.split(None, 1)[0].partition("-")
            sizes = {name: int(kib) * 1024 for name, kib in _FIELD.findall(fields)}
            found.append(Smap(int(start, 16), int(end, 16), os.fsencode(head), sizes, frozenset()))
    return found


def parse_status(text: str) -> dict[str, int]:
    """The Vm…, Rss… and HugetlbPages lines of /proc/PID/status in bytes: {"VmPTE": 24576, …}."""
    fields = (line.split() for line in text.splitlines() if line.startswith(("Vm", "Rss", "Huge")))
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in fields}


def read_smaps(pid: int) -> list[Smap]:
    """/proc/PID/smaps now."""
    return parse_smaps(Path(f"/proc/{pid}/smaps").read_bytes())


def read_status(pid: int) -> dict[str, int]:
    """The Vm… lines of /proc/PID/status now."""
    return parse_status(Path(f"/proc/{pid}/status").read_text())


def read_pagemap(pid: int, start: int, pages: int, page_size: int = 4096) -> array[int]:
    """The pagemap entries of `pages` pages from `start`; PFNs are 0 without CAP_SYS_ADMIN."""
    entries = array("Q")
    with open(f"/proc/{pid}/pagemap", "rb", buffering=0) as file:
        file.seek(start // page_size * 8)
        entries.frombytes(file.read(pages * 8))
    return entries


class MapCounts:
    """/proc/kpagecount: how often each frame is mapped. UserError without root."""

    def __init__(self) -> None:
        try:
            self._file = open("/proc/kpagecount", "rb", buffering=0)  # noqa: SIM115  (closed by `close`)
        except OSError as error:
            raise UserError(f"/proc/kpagecount: {error.strerror}: map counts need root") from None

    def of(self, pfn: int) -> int:
        """Mappings of the frame with this number."""
        self._file.seek(pfn * 8)
        return int.from_bytes(self._file.read(8), "little")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
