# SPDX-License-Identifier: LGPL-2.1-or-later
"""xmalloc: no memory ends the process with a message."""

from memtwin import Exited, Machine

process = Machine(ram="64 MiB").spawn()
print(f"xmalloc0(8): {process.read(process.xmalloc0(8), 8)}")
try:
    process.xmalloc(1 << 62)
except Exited as end:
    print(f"exit status {end.status}: {end}")
