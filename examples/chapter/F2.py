# SPDX-License-Identifier: LGPL-2.1-or-later
"""mallinfo: ten numbers about the heap."""

from memtwin import Machine

process = Machine(ram="64 MiB").spawn()
blocks = [process.malloc(size) for size in (100, 2000, 300_000)]
process.free(blocks[1])
for name, value in process.mallinfo().items():
    print(f"{name:9} {value:>9,}")
