# SPDX-License-Identifier: LGPL-2.1-or-later
"""Names of anonymous memory: against the running kernel, whether it knows names or not, and by the rules where it does not."""

from __future__ import annotations

import ctypes
import mmap
import random
from dataclasses import replace
from pathlib import Path

import pytest

from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.flags import EBADF, EINVAL, ENOMEM
from memtwin.kernel.hostprofile import profile_of_host
from memtwin.kernel.machine import Machine
from memtwin.kernel.procfs import maps
from memtwin.kernel.profile import KernelProfile

PAGE = mmap.PAGESIZE
PAGES = 24
ANON, FIXED, SHARED = 0x22, 0x32, 0x21
NAMES = ("left", "right", " glibc: malloc", "x" * 79, "x" * 80, "a[1]", "a$b", "tab\t", "", None)


def lines_within(text: str, start: int, end: int) -> list[list[str]]:
    """The mappings of maps in a range: start, end, permissions, name."""
    found = []
    for line in text.splitlines():
        fields = line.split(None, 5)
        low, high = (int(part, 16) for part in fields[0].split("-"))
        if start <= low and high <= end:
            found.append([f"{low:x}", f"{high:x}", fields[1], fields[5].strip() if len(fields) == 6 else ""])
    return found


def test_equal_on_this_kernel() -> None:
    """Random names for random ranges of our own memory, some with other permissions, holes in it."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 3, ctypes.c_char_p]
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    around = libc.mmap(None, (PAGES + 2) * PAGE, 0, ANON, -1, 0)
    start, end = around + PAGE, around + (PAGES + 1) * PAGE
    space = AddressSpace(Machine(profile=profile_of_host()), window_bits=40)
    assert space.sys_mmap(around, (PAGES + 2) * PAGE, 0, FIXED, None, 0) == around
    assert libc.mprotect(start, end - start, 3) == space.sys_mprotect(start, end - start, 3) == 0
    for _ in range(200):
        first = chance.randrange(PAGES)
        at, length = start + first * PAGE, chance.randint(1, PAGES - first) * PAGE - chance.choice((0, 1))
        what = chance.random()
        if what < 0.1:
            assert libc.munmap(at, length) == space.sys_munmap(at, length)
        elif what < 0.3:
            libc.mmap(at, length, 3, FIXED, -1, 0)
            space.sys_mmap(at, length, 3, FIXED, None, 0)
        elif what < 0.4:
            assert min(libc.mprotect(at, length, 1), 0) == max(space.sys_mprotect(at, length, 1), -1)
        else:
            name = chance.choice(NAMES)
            at += chance.choice((0, 0, 0, 1))
            done = libc.prctl(0x53564D41, 0, at, length, None if name is None else name.encode())
            assert space.sys_set_vma_name(at, length, name) == (-ctypes.get_errno() if done else 0)
        assert lines_within(maps(space), start, end) == lines_within(Path("/proc/self/maps").read_text(), start, end)
    libc.munmap(around, (PAGES + 2) * PAGE)


def named_space() -> AddressSpace:
    return AddressSpace(Machine(profile=replace(KernelProfile(), names_mappings=True)), window_bits=40)


def test_names_keep_memory_apart() -> None:
    space = named_space()
    high = space.sys_mmap(0, 2 * PAGE, 3, ANON, None, 0)
    assert space.sys_set_vma_name(high, 2 * PAGE, "mine") == 0
    low = space.sys_mmap(0, 2 * PAGE, 3, ANON, None, 0)
    assert [vma.label for vma in space.vmas()] == [None, "[anon:mine]"]
    assert low + 2 * PAGE == high
    assert space.sys_set_vma_name(low + PAGE, 1, "mine") == 0  # joins what lies above
    assert [(vma.start, vma.label) for vma in space.vmas()] == [(low, None), (low + PAGE, "[anon:mine]")]
    assert "[anon:mine]" in maps(space)
    assert space.sys_set_vma_name(low, 4 * PAGE, None) == 0
    assert [(vma.start, vma.end, vma.label) for vma in space.vmas()] == [(low, high + 2 * PAGE, None)]
    assert space.call_counts["prctl"] == 3


def test_names_go_with_what_is_split_moved_and_forked() -> None:
    space = named_space()
    start = space.sys_mmap(0, 4 * PAGE, 3, ANON, None, 0)
    space.sys_set_vma_name(start, 4 * PAGE, "mine")
    space.sys_mprotect(start + PAGE, PAGE, 1)
    assert [vma.label for vma in space.vmas()] == ["[anon:mine]"] * 3
    moved = space.sys_mremap(start + 2 * PAGE, 2 * PAGE, 40 * PAGE, 1, 0)
    assert [vma.label for vma in space.fork(36).vmas()] == ["[anon:mine]"] * 3
    assert [vma.label for vma in space.vmas() if vma.start == moved] == ["[anon:mine]"]


def test_what_cannot_be_named() -> None:
    space = named_space()
    shared = space.sys_mmap(0, PAGE, 3, SHARED | 0x20, None, 0)
    zeros = space.sys_mmap(0, PAGE, 3, 2, space.machine.dev_zero, 0)
    assert space.sys_set_vma_name(shared, PAGE, "ours") == 0
    assert "[anon_shmem:ours]" in maps(space)
    assert space.sys_set_vma_name(zeros, PAGE, "ours") == -EBADF
    assert space.sys_set_vma_name(shared + PAGE, PAGE, "ours") == -ENOMEM
    assert space.sys_set_vma_name(shared, PAGE, "a]") == -EINVAL
    assert space.sys_set_vma_name(shared + 1, PAGE, "a") == -EINVAL
    assert space.sys_set_vma_name(shared, 0, "a") == 0


@pytest.mark.parametrize("names", [False, True])
def test_a_kernel_without_names_refuses_them(names: bool) -> None:
    space = AddressSpace(Machine(profile=replace(KernelProfile(), names_mappings=names)), window_bits=40)
    start = space.sys_mmap(0, PAGE, 3, ANON, None, 0)
    assert space.sys_set_vma_name(start, PAGE, "mine") == (0 if names else -EINVAL)
