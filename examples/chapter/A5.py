# SPDX-License-Identifier: LGPL-2.1-or-later
"""Several processes share one physical page: a mapped file is in RAM once, whoever maps it."""

from memtwin import Machine

PAGE, MAP_SHARED = 4096, 1
machine = Machine(ram="64 MiB")
one = machine.spawn()
fd = one.memfd_create("database")
one.ftruncate(fd, 4 * PAGE)
p = one.mmap(length=4 * PAGE, flags=MAP_SHARED, fd=fd)
other = one.fork()
one.write(p, b"written by one")
frames = [process.pages(p, 1).pages[0].frame for process in (one, other) if process.read(p, 1)]
print(f"the other reads {other.read(p, 14)}; frames {frames}")
