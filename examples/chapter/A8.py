# SPDX-License-Identifier: LGPL-2.1-or-later
"""bss costs nothing in the file and no frame until it is used: it begins as zero pages."""

from memtwin import Machine

PAGE = 4096
process = Machine(ram="64 MiB").spawn()
bss = process.mmap(length=256 * PAGE)  # as the loader maps a large bss
before = process.rss
print(f"read: {process.read(bss, 4)}, {process.minflt} minor fault, {process.rss - before} bytes more resident")
process.write(bss, b"used")
print(f"written: {process.minflt} minor fault, {process.rss - before} bytes more resident")
