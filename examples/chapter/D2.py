# SPDX-License-Identifier: LGPL-2.1-or-later
"""Three big blocks on the heap: freeing the middle one gives nothing back."""

from memtwin import Machine

machine = Machine(ram="64 MiB")
for label, size in (("on the heap", 100 << 10), ("mapped", 200 << 10)):
    process = machine.spawn()
    a, b, c = (process.malloc(size) for _ in range(3))
    for p in (a, b, c):
        process.touch(p, size)
    before = process.rss
    process.free(b)
    print(f"{label}: freeing B gives back {(before - process.rss) >> 10} KiB")
