# SPDX-License-Identifier: LGPL-2.1-or-later
"""The regions of a process: text, data, bss, heap, mappings, stack."""

from memtwin import Machine

process = Machine(ram="64 MiB").spawn("/bin/cat")
process.malloc(100)
for region in process.address_space().regions:
    print(f"{region.start:#x} {region.permissions} {region.kind:8} {region.name}")
