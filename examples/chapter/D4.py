# SPDX-License-Identifier: LGPL-2.1-or-later
"""glibc maps blocks above a threshold one by one; freeing one moves the threshold up."""

from memtwin import Machine


def where(process, p):
    """ "heap" or "mapping"."""
    return "heap" if process.space.brk_start <= p < process.space.brk_end else "mapping"


process = Machine(ram="64 MiB").spawn()
small, big = process.malloc(100 << 10), process.malloc(200 << 10)
print(f"100 KiB: {where(process, small)}; 200 KiB: {where(process, big)}")
process.free(big)
print(f"200 KiB again, after the first was freed: {where(process, process.malloc(200 << 10))}")
fixed = Machine(ram="64 MiB").spawn(tunables={"mmap_threshold": 128 << 10})
fixed.free(fixed.malloc(200 << 10))
print(f"with a threshold that was set: {where(fixed, fixed.malloc(200 << 10))}")
