# SPDX-License-Identifier: LGPL-2.1-or-later
"""Alignment: addresses from malloc are multiples of 16 on 64-bit machines."""

from memtwin import Machine

process = Machine(ram="64 MiB").spawn()
addresses = [process.malloc(size) for size in (1, 7, 24, 25, 100)]
print([f"{address % 16} low bits of {address:#x}" for address in addresses])
