# SPDX-License-Identifier: LGPL-2.1-or-later
"""brk and sbrk: the break moves by absolute address or increment; sbrk(0) asks."""

from memtwin import Machine

process = Machine(ram="64 MiB").spawn()
start = process.sbrk(0)
print(f"the break: {start:#x}; sbrk(4096) returns the old one: {process.sbrk(4096) == start}")
process.write(start, b"mine now")
print(f"brk back: {process.brk(start)}; the break is {process.sbrk(0):#x}")
print(f"too far: {process.brk(start + (1 << 46))}, errno {process.errno}")
