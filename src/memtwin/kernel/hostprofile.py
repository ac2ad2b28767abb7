# SPDX-License-Identifier: LGPL-2.1-or-later
"""The profile of the kernel that runs here, read from /proc and /sys, and asked by a mapping where they do not say.

Sources: proc_sys_vm(5), Documentation/admin-guide/mm/transhuge.rst, Documentation/admin-guide/kernel-parameters.txt
(stack_guard_gap), CONFIG_PT_RECLAIM in /proc/config.gz.
"""

from __future__ import annotations

import gzip
import mmap
import os
import platform
import re
from contextlib import suppress
from ctypes import CDLL, addressof, c_char, c_int, c_long, c_size_t, c_void_p
from dataclasses import replace
from pathlib import Path

from memtwin.errors import UserError
from memtwin.kernel.profile import PROFILES, KernelProfile

_VM = Path("/proc/sys/vm")
_THP = Path("/sys/kernel/mm/transparent_hugepage")
_FAULT_AROUND = Path("/sys/kernel/debug/fault_around_bytes")
_NEAREST = {"x86_64": "linux-6.18-x86_64", "aarch64": "linux-6.18-aarch64", "riscv64": "linux-6.18-riscv64-sv48"}
_KERNEL_OWN = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S+) .*(\[v(?:var|dso)\w*\])$", re.MULTILINE)
_MAP_FAILED = (1 << 64) - 1
_PR_SET_VMA, _PR_SET_VMA_ANON_NAME = 0x53564D41, 0


def profile_of_host(sized: bool = False) -> KernelProfile:
    """The running kernel's profile. UserError: not Linux, or an architecture that memtwin has no profile of.

    sized: also what the kernel has chosen by its RAM (min_free_kbytes and the reserves of overcommit mode 2), for a
    machine that has as much. What cannot be read (debugfs without root, a kernel without /proc/config.gz) is as the
    named profile of that architecture has it.
    """
    machine = platform.machine()
    if platform.system() != "Linux" or machine not in _NEAREST:
        raise UserError(f"this is {platform.system()} on {machine}: name a profile, {', '.join(PROFILES)}")
    page = os.sysconf("SC_PAGE_SIZE")
    like = PROFILES[_NEAREST[machine]]
    same = [one for one in PROFILES.values() if (one.architecture, one.page_size) == (machine, page)]
    like = like if like in same or not same else same[0]
    return replace(
        like,
        name="host",
        release=release_of(platform.release()),
        page_size=page,
        levels=_levels(like),
        mmap_min_addr=_mmap_min_addr(page),
        stack_guard_pages=_stack_guard_pages(),
        max_map_count=_setting("max_map_count", like.max_map_count),
        fault_around_bytes=_fault_around(like),
        thp=_thp(),
        vdso_pages=_vdso_pages(page) or like.vdso_pages,
        reclaim_tables=_reclaims_tables(),
        names_mappings=names_mappings(),
        protection_keys=has_protection_keys(),
        overcommit_memory=_setting("overcommit_memory", 0),
        overcommit_ratio=_setting("overcommit_ratio", 50),
        overcommit_kbytes=_setting("overcommit_kbytes", 0),
        user_reserve_kbytes=_number("user_reserve_kbytes") if sized else None,
        admin_reserve_kbytes=_number("admin_reserve_kbytes") if sized else None,
        min_free_kbytes=_number("min_free_kbytes") if sized else None,
        watermark_scale_factor=_setting("watermark_scale_factor", 10),
    )


def release_of(text: str) -> tuple[int, int]:
    """(6, 18) of "6.18.44-generic". UserError when it does not begin with two numbers."""
    found = re.match(r"(\d+)\.(\d+)", text)
    if found is None:
        raise UserError(f"kernel release {text!r}: it begins with two numbers, as 6.18")
    return int(found[1]), int(found[2])


def ram_and_swap() -> tuple[int, int]:
    """MemTotal and SwapTotal, bytes: what Machine(ram=…, swap=…) takes to be like this machine.

    SwapTotal leaves out the first page of a swap area, its header, which `swap` counts.
    """
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    sizes = {words[0]: int(words[1]) << 10 for words in lines}
    ram, swap = sizes["MemTotal:"], sizes["SwapTotal:"]
    return ram, swap + os.sysconf("SC_PAGE_SIZE") if swap else 0


def _number(name: str) -> int | None:
    with suppress(OSError, ValueError):
        return int((_VM / name).read_text())
    return None


def _setting(name: str, default: int) -> int:
    number = _number(name)
    return default if number is None else number


def _levels(like: KernelProfile) -> int:
    """5 where the processor has LA57 and the kernel uses it: it hides the flag otherwise."""
    if like.architecture != "x86_64":
        return like.levels
    return 5 if "la57" in _processor_flags() else 4


def has_protection_keys() -> bool:
    """Whether the kernel uses the processor's protection keys."""
    return "ospke" in _processor_flags()


def _processor_flags() -> list[str]:
    """What x86's /proc/cpuinfo says of the processor; nothing elsewhere."""
    with suppress(OSError):
        flags = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        return flags[1].split() if flags else []
    return []


def _mmap_min_addr(page: int) -> int:
    """Where a mapping with the lowest hint goes: the sysctl does not tell the security modules' own limit."""
    libc = CDLL(None, use_errno=True)
    libc.mmap.restype = c_void_p
    libc.mmap.argtypes = [c_void_p, c_size_t, c_int, c_int, c_int, c_long]
    libc.munmap.argtypes = [c_void_p, c_size_t]
    at = libc.mmap(page, page, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    if at in (None, _MAP_FAILED):
        return _setting("mmap_min_addr", 65536)
    libc.munmap(at, page)
    return at if at < 1 << 20 else _setting("mmap_min_addr", 65536)  # the place was taken: somewhere high


def _stack_guard_pages() -> int:
    with suppress(OSError):
        found = re.search(r"\bstack_guard_gap=(\d+)", Path("/proc/cmdline").read_text())
        if found:
            return int(found[1])
    return 256


def _fault_around(like: KernelProfile) -> int:
    with suppress(OSError, ValueError):
        return int(_FAULT_AROUND.read_text())
    return like.fault_around_bytes


def _thp() -> str:
    with suppress(OSError):
        found = re.search(r"\[(never|madvise|always)\]", (_THP / "enabled").read_text())
        if found:
            return found[1]
    return "never"


def _vdso_pages(page: int) -> tuple[tuple[str, int, int], ...]:
    found = []
    for start, end, letters, name in _KERNEL_OWN.findall(Path("/proc/self/maps").read_text()):
        prot = sum(bit for letter, bit in zip("rwx", (1, 2, 4), strict=True) if letter in letters)
        found.append((name, prot, (int(end, 16) - int(start, 16)) // page))
    return tuple(found)


def names_mappings() -> bool:
    """Whether a mapping of our own can be given a name, which takes CONFIG_ANON_VMA_NAME."""
    byte = c_char.from_buffer(mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    place, length = c_void_p(addressof(byte)), c_size_t(mmap.PAGESIZE)
    return bool(CDLL(None).prctl(_PR_SET_VMA, _PR_SET_VMA_ANON_NAME, place, length, b"memtwin") == 0)


def _reclaims_tables() -> bool:
    with suppress(OSError):
        return b"\nCONFIG_PT_RECLAIM=y\n" in gzip.decompress(Path("/proc/config.gz").read_bytes())
    return platform.machine() == "x86_64" and release_of(platform.release()) >= (6, 14)
