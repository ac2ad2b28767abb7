# SPDX-License-Identifier: LGPL-2.1-or-later
"""Hand-made sequences: what each kind of mistake gives, and what one read of a file brings along.

A row is a name, operations as verify's scripts have them, and what the last one comes to: a result, or "signal code".
The kernel's own answer is the judge, these numbers only say what a row is meant to show.
"""

from __future__ import annotations

from errno import EACCES, EBADF, EEXIST, EFAULT, EINVAL, ENODEV, ENOMEM, EOPNOTSUPP, EOVERFLOW
from typing import NamedTuple

PAGE = 4096
AT = 0x10000000
OK = None  # success, whatever the number
_MAP = f"0 mmap {AT:#x} 0x4000 3 0x32 none 0x0"
_HOLE = f"{_MAP}\n0 munmap {AT + PAGE:#x} 0x1000"
_SHARED = f"0 mmap {AT:#x} 0x4000 3 0x31 none 0x0"
_FILE = f"0 mmap {AT:#x} 0x4000 1 0x12 file 0x0"
_VVAR, _VDSO = 0x7FFFF7FF7000, 0x7FFFF7FFD000  # of the stage


class Row(NamedTuple):
    """One row. expected: result of the last operation, (signal, code), or OK."""

    name: str
    script: str
    expected: int | tuple[int, int] | None


ERRNO = [
    Row("mmap: length 0", "0 mmap 0x0 0x0 3 0x22 none 0x0", -EINVAL),
    Row("mmap: longer than all user addresses", "0 mmap 0x0 0x7ffffffff001 3 0x22 none 0x0", -ENOMEM),
    Row("mmap: length that overflows", "0 mmap 0x0 0xfffffffffffff000 3 0x22 none 0x0", -ENOMEM),
    Row("mmap: length -1", "0 mmap 0x0 0xffffffffffffffff 3 0x22 none 0x0", -ENOMEM),
    Row("mmap: neither private nor shared", "0 mmap 0x0 0x1000 3 0x20 none 0x0", -EINVAL),
    Row("mmap: anonymous SHARED_VALIDATE", "0 mmap 0x0 0x1000 3 0x23 none 0x0", -EINVAL),
    Row("mmap: SHARED_VALIDATE and an unknown flag", "0 mmap 0x0 0x1000 1 0x200003 file 0x0", -EOPNOTSUPP),
    Row("mmap: MAP_SYNC on a disk file", "0 mmap 0x0 0x1000 1 0x80003 file 0x0", -EOPNOTSUPP),
    Row("mmap: FIXED and unaligned", f"0 mmap {AT + 1:#x} 0x1000 3 0x32 none 0x0", -EINVAL),
    Row("mmap: FIXED beyond user addresses", "0 mmap 0x7ffffffff000 0x1000 3 0x32 none 0x0", -ENOMEM),
    Row("mmap: FIXED_NOREPLACE where something is", f"{_MAP}\n0 mmap {AT + PAGE:#x} 0x1000 3 0x100022 none 0x0", -EEXIST),
    Row("mmap: a closed descriptor", "0 mmap 0x0 0x1000 1 0x2 closed 0x0", -EBADF),
    Row("mmap: an unaligned offset", "0 mmap 0x0 0x1000 1 0x2 file 0x123", -EINVAL),
    Row("mmap: an offset that overflows", "0 mmap 0x0 0x2000 1 0x2 file 0xfffffffffffff000", -EOVERFLOW),
    Row("mmap: shared and writable of a read-only descriptor", "0 mmap 0x0 0x1000 3 0x1 readonly 0x0", -EACCES),
    Row("mmap: private of a write-only descriptor", "0 mmap 0x0 0x1000 1 0x2 writeonly 0x0", -EACCES),
    Row("mmap: shared of a write-only descriptor", "0 mmap 0x0 0x1000 2 0x1 writeonly 0x0", -EACCES),
    Row("mmap: a directory", "0 mmap 0x0 0x1000 1 0x2 directory 0x0", -ENODEV),
    Row("mmap: a pipe", "0 mmap 0x0 0x1000 1 0x2 pipe 0x0", -ENODEV),
    Row("mmap: GROWSDOWN and shared", "0 mmap 0x0 0x1000 3 0x121 none 0x0", -EINVAL),
    Row("mmap: HUGETLB without reserved pages", "0 mmap 0x0 0x200000 3 0x40022 none 0x0", -ENOMEM),
    Row("mmap: unknown prot bits are ignored", "0 mmap 0x0 0x1000 0x83 0x22 none 0x0", OK),
    Row("mmap: unknown flags of a private mapping are ignored", "0 mmap 0x0 0x1000 3 0x8000022 none 0x0", OK),
    Row("mmap: past the end of the file", f"0 mmap {AT:#x} 0x100000 1 0x12 file 0x0\n0 load {AT + 0xF0000:#x} 1 1", (7, 2)),
    Row("munmap: unaligned", f"0 munmap {AT + 1:#x} 0x1000", -EINVAL),
    Row("munmap: length 0", f"0 munmap {AT:#x} 0x0", -EINVAL),
    Row("munmap: beyond user addresses", "0 munmap 0x7fffffffe000 0x2000", -EINVAL),
    Row("munmap: nothing there", f"0 munmap {AT:#x} 0x1000", 0),
    Row("mprotect: unaligned", f"{_MAP}\n0 mprotect {AT + 1:#x} 0x1000 1", -EINVAL),
    Row("mprotect: length 0", f"{_MAP}\n0 mprotect {AT:#x} 0x0 1", 0),
    Row("mprotect: a hole; what lies before is changed", f"{_HOLE}\n0 mprotect {AT:#x} 0x4000 1", -ENOMEM),
    Row("mprotect: an unknown prot", f"{_MAP}\n0 mprotect {AT:#x} 0x1000 0x10", -EINVAL),
    Row("mprotect: writable, of a read-only descriptor", f"0 mmap {AT:#x} 0x1000 1 0x11 readonly 0x0\n0 mprotect {AT:#x} 0x1000 3", -EACCES),
    Row("mprotect: one page of the vdso", f"0 mprotect {_VDSO:#x} 0x1000 1", -EINVAL),
    Row("mprotect: vvar writable", f"0 mprotect {_VVAR:#x} 0x4000 3", -EACCES),
    Row("mprotect: GROWSDOWN of an ordinary mapping", f"{_MAP}\n0 mprotect {AT:#x} 0x1000 0x1000001", -EINVAL),
    Row("mincore: unaligned", f"{_MAP}\n0 mincore {AT + 1:#x} 0x1000", -EINVAL),
    Row("mincore: nothing there", f"0 mincore {AT:#x} 0x1000", -ENOMEM),
    Row("mincore: length 0", f"{_MAP}\n0 mincore {AT:#x} 0x0", 0),
    Row("madvise: unaligned", f"{_MAP}\n0 madvise {AT + 1:#x} 0x1000 4", -EINVAL),
    Row("madvise: unknown advice", f"{_MAP}\n0 madvise {AT:#x} 0x1000 999", -EINVAL),
    Row("madvise: a hole; the rest is done", f"{_HOLE}\n0 madvise {AT:#x} 0x4000 10", -ENOMEM),
    Row("madvise: DONTNEED of locked pages", f"{_MAP}\n0 mlock {AT:#x} 0x1000\n0 madvise {AT:#x} 0x1000 4", -EINVAL),
    Row("madvise: FREE of a file", f"{_FILE}\n0 madvise {AT:#x} 0x1000 8", -EINVAL),
    Row("madvise: POPULATE_WRITE of a read-only mapping", f"{_FILE}\n0 madvise {AT:#x} 0x1000 23", -EINVAL),
    Row("madvise: REMOVE of anonymous memory", f"{_MAP}\n0 madvise {AT:#x} 0x1000 9", -EINVAL),
    Row("madvise: WIPEONFORK of a file", f"{_FILE}\n0 madvise {AT:#x} 0x1000 18", -EINVAL),
    Row("madvise: length 0", f"{_MAP}\n0 madvise {AT:#x} 0x0 4", 0),
    Row("mlock: a hole", f"{_HOLE}\n0 mlock {AT:#x} 0x4000", -ENOMEM),
    Row("mlock: no access allowed", f"0 mmap {AT:#x} 0x1000 0 0x32 none 0x0\n0 mlock {AT:#x} 0x1000", -ENOMEM),
    Row("mlock2: an unknown flag", f"{_MAP}\n0 mlock2 {AT:#x} 0x1000 2", -EINVAL),
    Row("mlock: unaligned is rounded outwards", f"{_MAP}\n0 mlock {AT + 1:#x} 0x1000", 0),
    Row("mremap: unknown flags", f"{_MAP}\n0 mremap {AT:#x} 0x1000 0x2000 8 0x0", -EINVAL),
    Row("mremap: unaligned", f"{_MAP}\n0 mremap {AT + 1:#x} 0x1000 0x2000 1 0x0", -EINVAL),
    Row("mremap: new length 0", f"{_MAP}\n0 mremap {AT:#x} 0x1000 0x0 1 0x0", -EINVAL),
    Row("mremap: FIXED without MAYMOVE", f"{_MAP}\n0 mremap {AT:#x} 0x1000 0x1000 2 0x20000000", -EINVAL),
    Row("mremap: onto itself", f"{_MAP}\n0 mremap {AT:#x} 0x2000 0x2000 3 {AT + PAGE:#x}", -EINVAL),
    Row("mremap: longer than all user addresses", f"{_MAP}\n0 mremap {AT:#x} 0x1000 0x800000000000 1 0x0", -EINVAL),
    Row("mremap: DONTUNMAP with another size", f"{_MAP}\n0 mremap {AT:#x} 0x1000 0x2000 5 0x0", -EINVAL),
    Row("mremap: nothing there", f"0 mremap {AT:#x} 0x1000 0x2000 1 0x0", -EFAULT),
    Row("mremap: grown from beyond its end", f"{_MAP}\n0 mremap {AT:#x} 0x5000 0x6000 1 0x0", -EFAULT),
    Row("mremap: no room and not to be moved", f"{_MAP}\n0 mmap {AT + 4 * PAGE:#x} 0x1000 1 0x32 none 0x0\n0 mremap {AT:#x} 0x4000 0x5000 0 0x0", -ENOMEM),
    Row("mremap: shrunk across two mappings", f"{_MAP}\n0 mprotect {AT:#x} 0x1000 1\n0 mremap {AT:#x} 0x4000 0x1000 0 0x0", OK),
    Row("mremap: old length 0 of private memory", f"{_MAP}\n0 mremap {AT:#x} 0x0 0x1000 1 0x0", -EINVAL),
    Row("mremap: old length 0 of shared memory", f"{_SHARED}\n0 mremap {AT:#x} 0x0 0x1000 1 0x0", OK),
    Row("mremap: the vdso", f"0 mremap {_VDSO:#x} 0x2000 0x2000 3 {AT:#x}", OK),
    Row("read where nothing is", f"0 load {AT:#x} 1 1", (11, 1)),
    Row("read where it is not allowed", f"0 mmap {AT:#x} 0x1000 0 0x32 none 0x0\n0 load {AT:#x} 1 1", (11, 2)),
    Row("write where it is not allowed", f"0 mmap {AT:#x} 0x1000 1 0x32 none 0x0\n0 store {AT:#x} 1 1 7", (11, 2)),
    Row("brk below the heap's start", "0 brk 0x1000", OK),
]  # fmt: skip


def _around() -> list[Row]:
    """Reads of a mapped file: windows of 16 pages cut by the mapping, the table and the file's end."""
    rows = []
    places = [(0, 0, page) for page in (0, 1, 15, 16, 17, 31, 32, 39, 40)]
    places += [(5, 3, page) for page in (0, 10, 11, 12, 26, 27, 35)]
    places += [(508, 0, page) for page in (0, 3, 4, 5, 19, 20, 40)]  # over the end of a page table
    for base, first, page in places:
        start, length = AT + base * PAGE, (41 - first) * PAGE
        for kind, flags in (("private", 0x12), ("shared", 0x11)):
            script = f"0 mmap {start:#x} {length:#x} 1 {flags:#x} file {first * PAGE:#x}\n"
            read = min(page, 40 - first)
            rows.append(
                Row(
                    f"{kind}: page {read} of a mapping of {first}… at {base}",
                    f"{script}0 load {start + read * PAGE:#x} 1 1",
                    OK,
                )
            )
    cut = f"0 mmap {AT:#x} 0x29000 1 0x12 file 0x0\n0 mprotect {AT + 20 * PAGE:#x} 0x2000 0\n0 load {AT + 18 * PAGE:#x} 1 1"
    rows.append(Row("the window ends where the mapping was split", cut, OK))
    write = f"0 mmap {AT:#x} 0x29000 3 0x12 file 0x0\n0 store {AT + 3 * PAGE:#x} 1 1 7\n0 load {AT + 5 * PAGE:#x} 1 1"
    rows.append(Row("a write brings one page, a read those around it", write, OK))
    return rows


FAULT_AROUND = _around()
