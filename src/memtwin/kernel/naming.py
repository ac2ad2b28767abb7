# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Names for anonymous memory: prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME), of kernels with CONFIG_ANON_VMA_NAME.

maps shows them as [anon:NAME], those of anonymous shared memory as [anon_shmem:NAME]; memory with different names does
not merge. Linux 9a10064f5625 ("mm: add a field to store names for private anonymous memory", 5.17; for shared memory
d09e8ca6cb93, 6.2). Sources: kernel/sys.c (prctl_set_vma), mm/madvise.c.
"""

from __future__ import annotations

from typing import Any

import cython

from memtwin.kernel.files import SHARED_MEMORY_PATH, File
from memtwin.kernel.mm import Mm
from memtwin.kernel.vma import Vma

if not cython.compiled:
    from memtwin.kernel.flags import EAGAIN, EBADF, EINVAL, ENOMEM
    from memtwin.kernel.mapping import modify_named
    from memtwin.kernel.window import ALL_ONES

NAME_BYTES = 80  # ANON_VMA_NAME_MAX_LEN, with the zero at the end


def may_be_name(name: str) -> bool:
    r"""Whether the kernel takes it: printable ASCII without any of \ ` $ [ ], 79 bytes at most."""
    return len(name) < NAME_BYTES and all(" " <= letter <= "~" and letter not in "\\`$[]" for letter in name)


def is_shared_memory(vma: Vma) -> bool:
    """Whether it is of an anonymous shared mapping (vma_is_anon_shmem)."""
    return isinstance(vma.file, File) and vma.file.path == SHARED_MEMORY_PATH


def set_anon_name(mm: Mm, address: int, length: int, name: Any) -> int:
    """Name the mappings of a range, rounded up to pages; None takes their names away. 0 or -errno.

    Behind a hole it goes on and answers -ENOMEM at the end. -EINVAL: also where the kernel knows no names; -EBADF: a
    mapping of a file.
    """
    page = mm.page_size - 1
    rounded = (length + page) & ~page & ALL_ONES
    end = (address + rounded) & ALL_ONES
    if not mm.profile.names_mappings or (name is not None and not may_be_name(name)):
        return -EINVAL
    if address & page or (length and not rounded) or end < address:
        return -EINVAL
    error = 0
    while address < end:
        vma = mm.find(address) if address < mm.task_size else None
        if vma is None or vma.start >= end:
            return -ENOMEM
        if vma.start > address:
            error = -ENOMEM
            address = vma.start
        stop = vma.end if vma.end < end else end
        shared = is_shared_memory(vma)
        if vma.file is not None and not shared:
            return -EBADF
        label = None if name is None else f"[anon_shmem:{name}]" if shared else f"[anon:{name}]"
        if label != vma.label and modify_named(mm, vma, address, stop, vma.flags, label) is None:
            return -EAGAIN
        address = stop
    return error
