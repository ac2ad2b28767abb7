# SPDX-License-Identifier: LGPL-2.1-or-later
"""mallopt: each knob returns 1 where glibc takes the value."""

from memtwin import Machine

KNOBS = {"M_MXFAST": (1, 64), "M_TRIM_THRESHOLD": (-1, 1 << 20), "M_TOP_PAD": (-2, 0), "M_MMAP_THRESHOLD": (-3, 1 << 20),
         "M_MMAP_MAX": (-4, 0), "M_CHECK_ACTION": (-5, 1), "M_PERTURB": (-6, 0x55), "M_ARENA_TEST": (-7, 2),
         "M_ARENA_MAX": (-8, 2)}  # fmt: skip
process = Machine(ram="64 MiB").spawn()
for name, (parameter, value) in KNOBS.items():
    print(f"mallopt({name}, {value}) = {process.mallopt(parameter, value)}")
p = process.malloc(8)
print(f"M_PERTURB: a new block holds {process.read(p, 8).hex()}")
big = process.malloc(1 << 20)
print(f"M_MMAP_MAX 0: a MiB lies in the heap: {process.space.brk_start <= big < process.space.brk_end}")
