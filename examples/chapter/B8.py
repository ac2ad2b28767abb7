# SPDX-License-Identifier: LGPL-2.1-or-later
"""posix_memalign and its family: a power of two, the result in *memptr, EINVAL and ENOMEM as results."""

from memtwin import Machine

process = Machine(ram="64 MiB").spawn()
memptr = process.malloc(8)
print(f"posix_memalign(256): {process.posix_memalign(memptr, 256, 1000)}, {process.read_u64(memptr) % 256} over 256")
print(f"posix_memalign(24): {process.posix_memalign(memptr, 24, 1000)} (EINVAL)")
print(f"valloc: {process.valloc(10) % 4096} over a page; pvalloc: {process.pvalloc(10) % 4096}")
