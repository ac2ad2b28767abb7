# SPDX-License-Identifier: LGPL-2.1-or-later
"""free: what malloc returned and nothing else; freeing twice is noticed, free(NULL) does nothing."""

from memtwin import Aborted, Machine

machine = Machine(ram="64 MiB")
for what in ("a middle pointer", "twice", "NULL"):
    process = machine.spawn()
    p = process.malloc(64)
    try:
        if what == "a middle pointer":
            process.free(p + 8)
        elif what == "twice":
            process.free(p)
            process.free(p)
        else:
            process.free(0)
        print(f"free, {what}: nothing happens")
    except Aborted as abort:
        print(f"free, {what}: {abort}")
