# SPDX-License-Identifier: LGPL-2.1-or-later
"""What may only be executed: unreadable where the processor has protection keys, readable where it has none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memtwin.errors import SegmentationFault
from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.check import validate_machine
from memtwin.kernel.flags import (
    ENOMEM,
    MAP_ANONYMOUS,
    MAP_LOCKED,
    MAP_PRIVATE,
    PROT_EXEC,
    PROT_READ,
    PROT_SEM,
    PROT_WRITE,
)
from memtwin.kernel.machine import Machine
from memtwin.kernel.profile import KernelProfile
from memtwin.kernel.smaps import smaps

PAGE = 4096
WRITE = 2
ANONYMOUS = MAP_PRIVATE | MAP_ANONYMOUS
SEGV_ACCERR, SEGV_PKUERR = 2, 4


def space_with(keys: bool) -> AddressSpace:
    profile = replace(KernelProfile(), protection_keys=keys)
    return AddressSpace(Machine("64 MiB", profile=profile), window_bits=32)


@pytest.mark.parametrize("keys", [False, True])
def test_a_page_that_was_written_is_kept_but_not_read(keys: bool) -> None:
    space = space_with(keys)
    at = space.sys_mmap(0, 2 * PAGE, PROT_READ | PROT_WRITE, ANONYMOUS, None, 0)
    space.write(at, b"secret")
    assert space.sys_mprotect(at, PAGE, PROT_EXEC) == 0
    if keys:
        with pytest.raises(SegmentationFault, match="may only be executed") as stop:
            space.read(at, 1)
        assert stop.value.code == SEGV_PKUERR
    else:
        assert space.read(at, 6) == b"secret"
    with pytest.raises(SegmentationFault) as stop:
        space.write(at, b"x")
    assert stop.value.code == (SEGV_PKUERR if keys else SEGV_ACCERR)
    validate_machine(space.machine, [space])
    assert space.sys_mprotect(at, PAGE, PROT_READ) == 0
    assert space.read(at, 6) == b"secret"
    validate_machine(space.machine, [space])


def test_a_new_mapping_has_the_key_and_smaps_tells_it() -> None:
    space = space_with(True)
    space.sys_mmap(0, PAGE, PROT_EXEC, ANONYMOUS, None, 0)
    space.sys_mmap(0, PAGE, PROT_EXEC | PROT_READ, ANONYMOUS, None, 0)
    space.sys_mmap(0, PAGE, PROT_EXEC | PROT_SEM, ANONYMOUS, None, 0)  # the key is for PROT_EXEC and nothing beside it
    keys = [int(line.split()[1]) for line in smaps(space).splitlines() if line.startswith("ProtectionKey:")]
    assert keys == [0, 0, 1]
    assert "ProtectionKey" not in smaps(space_with(False))


def test_the_kernel_does_not_bring_in_what_it_may_not_read() -> None:
    locked = ANONYMOUS | MAP_LOCKED
    for keys, pages, answer in ((False, 1, 0), (True, 0, -ENOMEM)):
        space = space_with(keys)
        at = space.sys_mmap(0, PAGE, PROT_EXEC, locked, None, 0)
        assert space.rss_pages == 0 and len([1 for _ in space.pages.entries()]) == pages  # a page of zeros
        assert space.sys_mlock(at, PAGE) == answer


def test_a_child_has_the_key_too() -> None:
    parent = space_with(True)
    at = parent.sys_mmap(0, PAGE, PROT_READ | PROT_WRITE, ANONYMOUS, None, 0)
    parent.touch(at, PAGE, WRITE)
    parent.sys_mprotect(at, PAGE, PROT_EXEC)
    child = parent.fork()
    with pytest.raises(SegmentationFault):
        child.read(at, 1)
    child.sys_mprotect(at, PAGE, PROT_READ)
    assert child.read(at, 1) == bytes(1)
    validate_machine(parent.machine, [parent, child])
