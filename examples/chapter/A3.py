# SPDX-License-Identifier: LGPL-2.1-or-later
"""Touching an invalid page is a segmentation fault: 1 without a mapping, 2 where it does not allow the access."""

from memtwin import Machine, SegmentationFault

PAGE, PROT_READ = 4096, 1
machine = Machine(ram="64 MiB")
for what in ("no mapping", "read-only"):
    process = machine.spawn()
    p = process.mmap(length=2 * PAGE)
    if what == "no mapping":
        process.munmap(p, PAGE)
    else:
        process.mprotect(p, PAGE, PROT_READ)
    try:
        process.write(p + 5, b"x")
    except SegmentationFault as fault:
        print(f"{what}: si_code {fault.code}, {fault}")
