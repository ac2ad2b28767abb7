# SPDX-License-Identifier: LGPL-2.1-or-later
"""How long validate_heap takes for a heap of 1 GiB in 10 million chunks, a quarter of them free: goal, under 2 seconds.

python benchmarks/validate.py [CHUNKS]
"""

from __future__ import annotations

import sys
import time

from memtwin.kernel.addrspace import AddressSpace
from memtwin.libc.check import validate_heap
from memtwin.libc.malloc import Malloc


def heap_of(chunks: int) -> Malloc:
    """Chunks of 48, 96, 144 and 160 bytes, 112 on average; the largest of each four is given back.

    The thread cache and fast bins are set aside, so that every freed chunk is in a bin.
    """
    malloc = Malloc(AddressSpace(), tunables={"tcache_count": 0, "mxfast": 0, "trim_threshold": 1 << 40})
    freed = []
    for _ in range(chunks // 4):
        malloc.malloc(40)
        malloc.malloc(88)
        freed.append(malloc.malloc(152))
        malloc.malloc(136)
    for block in freed:
        malloc.free(block)
    return malloc


def main() -> None:
    """Print one line."""
    chunks = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    malloc = heap_of(chunks)
    begin = time.perf_counter()
    check = validate_heap(malloc)
    seconds = time.perf_counter() - begin
    print(f"{check.chunks:,} chunks, {check.free_chunks:,} free, {check.bytes / (1 << 30):.2f} GiB: {seconds:.2f} s")


if __name__ == "__main__":
    main()
