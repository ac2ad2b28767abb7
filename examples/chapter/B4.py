# SPDX-License-Identifier: LGPL-2.1-or-later
"""realloc: in place where it can, else move and copy; a mapped block moves by mremap."""

from memtwin import Machine

process = Machine(ram="64 MiB").spawn()
a = process.malloc(100)
print(f"grows in place at the heap's end: {process.realloc(a, 1000) == a}")
process.malloc(16)
b = process.realloc(a, 5000)
print(f"moves when something is above: {b != a}")
big = process.malloc(1 << 20)
copied = process.libc.bytes_copied
grown = process.realloc(big, 3 << 20)
print(f"a mapped block: {process.libc.bytes_copied - copied} bytes copied, moved: {grown != big}")
print(f"realloc(0, 10) allocates: {process.realloc(0, 10) != 0}; realloc(p, 0) frees: {process.realloc(b, 0)}")
