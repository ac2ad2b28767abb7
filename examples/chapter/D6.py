# SPDX-License-Identifier: LGPL-2.1-or-later
"""Mapping /dev/zero privately, the BSD way to anonymous memory."""

from memtwin import Machine

MAP_PRIVATE = 0x02
process = Machine(ram="64 MiB").spawn()
fd = process.open("/dev/zero")
p = process.mmap(0, 8192, 3, MAP_PRIVATE, fd, 0)
process.write(p, b"anonymous")
print(f"{process.read(p, 9)}, then zeros: {process.read(p + 4096, 3)}")
print(process.explain(p))
