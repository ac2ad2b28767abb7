# SPDX-License-Identifier: LGPL-2.1-or-later
"""Page, word, byte, bit: the page is the MMU's unit, and how many there are follows from its size."""

from memtwin import Machine

for size in (4096, 8192, 16384, 65536):
    machine = Machine(ram="128 MiB", page_size=size)
    process = machine.spawn()
    p = process.mmap(length=100_000)
    process.touch(p, 100_000)
    print(f"pages of {size}: 100,000 bytes are {process.minflt} pages; 4 GiB are {2**32 // size:,}")
