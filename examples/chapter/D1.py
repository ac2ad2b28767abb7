# SPDX-License-Identifier: LGPL-2.1-or-later
"""Buddy allocation: powers of two, split and joined; fragmentation within and between blocks."""

from memtwin import Machine

machine = Machine(ram="16 MiB")
process = machine.spawn()
before = [len(blocks) for blocks in machine.buddy().free]
p = process.mmap(length=37 * 4096)
process.touch(p, 37 * 4096)
after = [len(blocks) for blocks in machine.buddy().free]
process.munmap(p, 37 * 4096)
print(f"free blocks by order before: {before}")
print(f"with 37 pages taken:         {after}")
print(f"given back, joined again:    {[len(blocks) for blocks in machine.buddy().free]}")
