# SPDX-License-Identifier: LGPL-2.1-or-later
"""calloc: an array of zeros, with the product checked."""

from memtwin import Machine

process = Machine(ram="64 MiB").spawn()
p = process.calloc(10, 4)
print(f"calloc(10, 4): {process.read(p, 40) == bytes(40)}")
print(f"calloc(2**40, 2**40): {process.calloc(1 << 40, 1 << 40)}, errno {process.errno}")
process.calloc(1, 1 << 20)
print(f"a fresh MiB is not cleared again: {process.minflt} page fault, for its header")
