# SPDX-License-Identifier: LGPL-2.1-or-later
"""Each process has its own address space: the same address holds different bytes."""

from memtwin import Machine

machine = Machine(ram="64 MiB")
parent = machine.spawn()
p = parent.malloc(32)
parent.write(p, b"parent")
child = parent.fork()
child.write(p, b"child!")
print(f"at {p:#x}: {parent.read(p, 6)} in one process, {child.read(p, 6)} in the other")
