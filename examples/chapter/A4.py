# SPDX-License-Identifier: LGPL-2.1-or-later
"""RAM is short: pages go out to swap, and come back with a major fault when they are used."""

from memtwin import Machine

PAGE = 4096
machine = Machine(ram="8 MiB", swap="32 MiB")
process = machine.spawn()
p = process.mmap(length=12 << 20)
for page in range(0, 12 << 20, PAGE):
    process.write(p + page, page.to_bytes(4, "little"))
swapped = process.space.swap_pages
print(f"12 MiB written on a machine of 8 MiB: {swapped} pages are in swap")
print(f"the first page still holds {process.read(p, 4)}, after {process.majflt} major fault")
