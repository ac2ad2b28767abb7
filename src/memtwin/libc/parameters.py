# SPDX-License-Identifier: LGPL-2.1-or-later
"""mp_, the allocator's parameters and counts, as the C library has them in its memory.

The allocator keeps them in fields; who looks at the process's memory sees what `write_mp` last put there.
"""

from __future__ import annotations

from memtwin.libc.malloc import Malloc
from memtwin.libc.release import find_release


def mp_bytes(malloc: Malloc) -> bytes:
    """struct malloc_par as it is now, in the release's layout."""
    room = bytearray()
    for name, size in find_release(malloc.release, malloc.data_model).mp_fields:
        value = int(getattr(malloc, name)) if name else 0
        room += (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    return bytes(room)


def write_mp(malloc: Malloc) -> None:
    """Let the process's memory at mp_ say what the parameters are now. MemoryFault: no memory there."""
    malloc.space.write(malloc.mp, mp_bytes(malloc))
