# SPDX-License-Identifier: LGPL-2.1-or-later
"""malloc: bytes whose contents are whatever was left there; NULL with ENOMEM when it fails."""

from memtwin import Machine

process = Machine(ram="64 MiB").spawn()
p = process.malloc(64)
process.write(p, b"a secret of 32 bytes, left behind")
process.free(p)
again = process.malloc(64)
print(f"same address: {again == p}; stale bytes: {process.read(again + 16, 17)}")
print(f"malloc of 2**63 bytes: {process.malloc(1 << 63)}, errno {process.errno}")
