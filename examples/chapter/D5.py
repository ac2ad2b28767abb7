# SPDX-License-Identifier: LGPL-2.1-or-later
"""mmap by hand: MAP_ANONYMOUS|MAP_PRIVATE, fd -1; MAP_FAILED with errno; munmap."""

from memtwin import Machine

MAP_PRIVATE, MAP_ANONYMOUS = 0x02, 0x20
process = Machine(ram="64 MiB").spawn()
p = process.mmap(0, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
print(f"mapped: {p != -1}; munmap: {process.munmap(p, 4096)}")
for length, flags in ((0, MAP_PRIVATE | MAP_ANONYMOUS), (1 << 48, MAP_PRIVATE | MAP_ANONYMOUS), (4096, MAP_ANONYMOUS)):
    print(f"length {length}, flags {flags:#x}: {process.mmap(0, length, 3, flags, -1, 0)}, errno {process.errno}")
