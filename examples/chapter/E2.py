# SPDX-License-Identifier: LGPL-2.1-or-later
"""malloc_usable_size: 21 asked, 24 usable."""

from memtwin import Machine

process = Machine(ram="64 MiB").spawn()
for size in (1, 21, 24, 25, 1000):
    print(f"malloc({size}): {process.malloc_usable_size(process.malloc(size))} bytes usable")
