# SPDX-License-Identifier: LGPL-2.1-or-later
"""malloc_trim: the top, and whole free pages inside of the heap, go back to the kernel."""

from memtwin import Machine

process = Machine(ram="64 MiB").spawn()
blocks = [process.malloc(100 << 10) for _ in range(10)]
for p in blocks:
    process.touch(p, 100 << 10)
for p in blocks[:-1]:
    process.free(p)
before = process.rss
print(f"malloc_trim(0) = {process.malloc_trim(0)}, gave back {(before - process.rss) >> 10} KiB under a live block")
print(f"again: {process.malloc_trim(0)}")
