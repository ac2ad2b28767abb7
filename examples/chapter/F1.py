# SPDX-License-Identifier: LGPL-2.1-or-later
"""MALLOC_CHECK_: checks without recompiling; since glibc 2.26 the levels above 0 all abort."""

from memtwin import Aborted, Machine

for level in (0, 1, 2, 3):
    process = Machine(ram="64 MiB").spawn(glibc="2.31", malloc_check=level)
    p = process.malloc(24)
    process.memset(p, 0x41, 25)  # one byte too many
    try:
        process.free(p)
        print(f"MALLOC_CHECK_={level}: the program goes on")
    except Aborted as abort:
        print(f"MALLOC_CHECK_={level}: {abort}")
