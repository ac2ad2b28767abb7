# SPDX-License-Identifier: LGPL-2.1-or-later
"""Anonymous mappings: zeroed, whole pages, resizable, protectable, returned at once."""

from memtwin import Machine

PAGE = 4096
process = Machine(ram="64 MiB").spawn()
p = process.mmap(length=5000)
print(f"zeroed: {process.read(p, 3)}; rounded up to pages: the byte after 5000 is there too: {process.read(p + 5000, 1)}")
grown = process.mremap(p, 2 * PAGE, 64 * PAGE)
process.touch(grown, 64 * PAGE)
before = process.rss
print(f"munmap: {process.munmap(grown, 64 * PAGE)}, gave back {(before - process.rss) // PAGE} pages at once")
