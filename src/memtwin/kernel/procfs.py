# SPDX-License-Identifier: LGPL-2.1-or-later
"""/proc/PID/maps of the twin, as the kernel writes it (fs/proc/task_mmu.c): one line a VMA, its name at column 73.

Its sisters are smaps.py (smaps, smaps_rollup) and status.py (status, statm, pagemap).
"""

from __future__ import annotations

from typing import Any

from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.flags import VM_EXEC, VM_MAYSHARE, VM_READ, VM_WRITE
from memtwin.kernel.vma import Vma

NAME_COLUMN = 73
_LETTERS = [
    "".join(letter if bits & bit else "-" for bit, letter in ((VM_READ, "r"), (VM_WRITE, "w"), (VM_EXEC, "x")))
    for bits in range(8)
]


def maps(space: AddressSpace) -> str:
    """The text of /proc/PID/maps."""
    return "".join([maps_line(space, vma) + "\n" for vma in space.vmas()])


def maps_line(space: AddressSpace, vma: Vma) -> str:
    """One VMA's line, without its end."""
    letters = _LETTERS[vma.flags & 7] + ("s" if vma.flags & VM_MAYSHARE else "p")
    offset, identity = file_place(vma)
    head = f"{vma.start:08x}-{vma.end:08x} {letters} {offset:08x} {identity} "
    name = vma_name(space, vma)
    return f"{head:<{NAME_COLUMN}}{name}" if name else head


def file_place(vma: Vma) -> tuple[int, str]:
    """Offset in the file and "device inode"; zeros for what maps no file."""
    file: Any = vma.file
    if file is None:
        return 0, "00:00 0"
    return vma.pgoff << 12, getattr(file, "identity", "00:00 0")


def vma_name(space: AddressSpace, vma: Vma) -> str:
    """What maps calls it: its file, [heap], [stack], the kernel's own, or nothing."""
    if vma.label:
        return str(vma.label)
    path = getattr(vma.file, "path", None)
    if path is not None:
        return str(path)
    if vma.start < space.brk_end and vma.end > space.brk_start:
        return "[heap]"
    if vma.start <= space.start_stack <= vma.end:
        return "[stack]"
    return ""
