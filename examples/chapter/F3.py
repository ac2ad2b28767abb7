# SPDX-License-Identifier: LGPL-2.1-or-later
"""malloc_stats and malloc_info: glibc's own texts."""

from memtwin import Machine

process = Machine(ram="64 MiB").spawn()
process.malloc(1000)
process.malloc(1 << 20)
print(process.malloc_stats())
print(process.malloc_info())
