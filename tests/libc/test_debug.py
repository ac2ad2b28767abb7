# SPDX-License-Identifier: LGPL-2.1-or-later
"""MALLOC_CHECK_ and the debug library, against the real ones."""

import random
from dataclasses import replace

import numpy as np
import pytest
from tests.libc.debugging import play
from tests.libc.sides import same

from memtwin.errors import UserError
from memtwin.host.libcs import find_libc
from memtwin.host.player import Play
from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.machine import Machine
from memtwin.kernel.profile import KernelProfile
from memtwin.libc.debug import CheckedMalloc, new_malloc
from memtwin.libc.malloc import Malloc
from memtwin.trace.schema import Op
from memtwin.verify.libc.profiles import PROFILES
from memtwin.verify.libc.sequences import generate

ELSEWHERE = (Play.LIMIT, Play.STOP, Op.FORK)

KINDS = ("tiny", "mixed", "large", "aligned", "realloc", "knobs", "foreign", "failure", "threads")


@pytest.mark.parametrize("check", [0, 1, 3])
@pytest.mark.parametrize("profile", KINDS)
def test_equal_after_random_calls(any_libc: str, profile: str, check: int) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    column = generate(PROFILES[profile], seed, 600, find_libc(any_libc).word)
    same(*play(any_libc, column[~np.isin(column["op"], ELSEWHERE)].copy(), check))


DAMAGE = {
    "one-byte-over": "p0 = malloc(24)\nmemset(p0 + 0, 120, 24)\nword at p0 + 24 := 0x31\nfree(p0)\n",
    "written-past": "p0 = malloc(20)\nword at p0 + 16 := 0\nfree(p0)\n",
    "double-free": "p0 = malloc(24)\nfree(p0) and keep\nfree(p0)\n",
    "middle": "p0 = malloc(240)\np1 := p0 + 16\nfree(p1)\n",
    "realloc-past": "p0 = malloc(20)\nword at p0 + 16 := 0\np0 = realloc(p0, 100)\n",
    "realloc-middle": "p0 = malloc(240)\np1 := p0 + 8\np1 = realloc(p1, 10)\n",
    "usable-past": "p0 = malloc(20)\nword at p0 + 16 := 0\nmalloc_usable_size(p0)\n",
    "top": "p0 = malloc(24)\nword at p0 + 40 := 0x1000001\np1 = malloc(24)\n",
    "mapped-past": "p0 = malloc(200000)\nword at p0 + 200000 := 0\nfree(p0)\n",
    "mapped-offset": "p0 = malloc(200000)\nword at p0 + -16 := 16\nfree(p0)\n",
    "mapped-size": "p0 = malloc(200000)\nword at p0 + -8 := 0x30ff2\nfree(p0)\n",
    "mapped-in-use": "p0 = malloc(200000)\nword at p0 + -8 := 0x31003\np0 = realloc(p0, 300000)\n",
    "mapped-middle": "p0 = malloc(200000)\np1 := p0 + 0x4010\nfree(p1)\n",
    "mapped-aligned": "p0 = memalign(4096, 200000)\np1 := p0 + 48\nword at p1 + -8 := 0x30002\nfree(p1)\n",
    "mapped-realloc-past": "p0 = malloc(200000)\nword at p0 + 200000 := 1\np0 = realloc(p0, 10)\n",
    "size-tiny": "p0 = malloc(24)\nword at p0 + -8 := 17\nfree(p0)\n",
    "size-odd": "p0 = malloc(24)\nword at p0 + -8 := 0x29\nfree(p0)\n",
    "size-huge": "p0 = malloc(24)\nword at p0 + -8 := 0x1000001\nfree(p0)\n",
    "said-to-be-mapped": "p0 = malloc(24)\nword at p0 + -8 := 0x33\nfree(p0)\n",
    "not-in-use": "p0 = malloc(24)\np1 = malloc(24)\nword at p1 + -8 := 0x30\nfree(p0)\n",
    "below-is-no-chunk": "p0 = malloc(40)\np1 = malloc(40)\nword at p1 + -8 := 0x40\nword at p1 + -16 := 0x20\nfree(p1)\n",
    "below-is-odd": "p0 = malloc(40)\np1 = malloc(40)\nword at p1 + -8 := 0x40\nword at p1 + -16 := 0x21\nfree(p1)\n",
    "below-is-far": "p0 = malloc(40)\np1 = malloc(40)\nword at p1 + -8 := 0x40\nword at p1 + -16 := 0x100000\nfree(p1)\n",
    "outside": "p0 = malloc(24)\np1 := p0 + 0x10000000\nfree(p1)\n",
    "top-small": "p0 = malloc(24)\nword at p0 + 40 := 0x11\np1 = memalign(64, 24)\n",
    "top-below-free": "p0 = malloc(24)\nword at p0 + 40 := 0x20fd0\np0 = realloc(p0, 100)\n",
    "top-mapped": "p0 = malloc(24)\nword at p0 + 40 := 0x20fd3\np1 = calloc(2, 10)\n",
    "top-without-growth": "p0 = malloc(24)\nword at p0 + 40 := 0x1001\nfree(p0)\np1 = malloc(10)\n",
    "unsorted-damaged": "p0 = malloc(2000)\np1 = malloc(24)\nfree(p0) and keep\nword at p0 + 8 := 16\np2 = malloc(3000)\n",
    "fast-damaged": "p0 = malloc(24)\np1 = malloc(24)\nfree(p0) and keep\nword at p0 + 0 := 0x123\np2 = malloc(24)\np2 = malloc(24)\n",
}


@pytest.mark.parametrize("case", DAMAGE)
@pytest.mark.parametrize("check", [0, 2])
def test_equal_last_words(any_libc: str, case: str, check: int) -> None:
    host, twin = play(any_libc, DAMAGE[case], check)
    assert (host.signal, host.message) == (twin.signal, twin.message)


ODD = {
    "pvalloc-of-two": "p0 = pvalloc(2)\nmalloc_usable_size(p0)\np1 = pvalloc(4096)\nmalloc_usable_size(p1)\n",
    "odd-alignment": "p0 = aligned_alloc(48, 100)\np1 = aligned_alloc(0, 100)\np2 = memalign(48, 100)\n"
    "posix_memalign(p3, 48, 100)\n",
    "mallopt-first": "mallopt(-3, 65536)\np0 = malloc(70000)\nmallopt(-3, 65536)\np1 = malloc(70000)\n",
    "mallopt-refused-first": "mallopt(1, 1000)\nmallopt(-3, 2000000000)\nmallinfo()\np0 = malloc(10)\nmallinfo()\n",
    "too-large": "p0 = malloc(10)\np0 = realloc(p0, -1000)\np1 = malloc(-1000)\np2 = calloc(-1, 2)\nfree(p0)\n",
    "in-a-mapping": "mallopt(-3, 65536)\np0 = malloc(100000)\np0 = realloc(p0, 300000)\np0 = realloc(p0, 20000)\n"
    "malloc_usable_size(p0)\np0 = realloc(p0, 19999)\nfree(p0)\n",
    "free-first": "free(p0)\nmalloc_usable_size(p0)\np0 = realloc(p0, 0)\n",
    "perturbed": "mallopt(-6, 90)\np0 = malloc(100)\nword at p0 + 8\nfree(p0) and keep\nword at p0 + 32\n",
}


@pytest.mark.parametrize("check", [0, 3])
@pytest.mark.parametrize("case", ODD)
def test_equal_in_odd_calls(any_libc: str, case: str, check: int) -> None:
    same(*play(any_libc, ODD[case], check))


@pytest.mark.parametrize("names", [False, True])
def test_the_debug_library_names_its_mappings(names: bool) -> None:
    """Since 2.39; a kernel that knows no names (CONFIG_ANON_VMA_NAME) leaves EINVAL."""
    kernel = Machine(profile=replace(KernelProfile(), names_mappings=names))
    for release, named in (("2.36", False), ("2.39", True), ("2.43", True)):
        malloc = CheckedMalloc(AddressSpace(kernel, 40), release, {"check": 3}, preloaded=True)
        block = malloc.malloc(300_000)
        assert malloc.errno == (22 if named and not names else 0)
        label = next(vma.label for vma in malloc.space.vmas() if vma.start <= block < vma.end)
        assert label == ("[anon: glibc: malloc]" if named and names else None)


def test_a_forked_child_checks_on() -> None:
    malloc = CheckedMalloc(AddressSpace(window_bits=40), "2.36", {"check": 3}, preloaded=True)
    block = malloc.malloc(20)
    child = malloc.fork(malloc.space.fork(40))
    child.space.write(block + 20, b"!")
    child.free(block)
    malloc.free(block)
    assert (child.abort, malloc.abort) == ("free(): invalid pointer", None)


def test_new_releases_need_the_library() -> None:
    assert type(new_malloc(AddressSpace(window_bits=40), "2.36", {"check": 3})) is Malloc
    with pytest.raises(UserError, match="preloaded"):
        CheckedMalloc(AddressSpace(window_bits=40), "2.36", {"check": 3})


def classic(action: int) -> CheckedMalloc:
    return CheckedMalloc(AddressSpace(window_bits=40), "2.36", {"check": action}, classic=True)


@pytest.mark.parametrize(("action", "printed", "aborts"), [(0, 0, False), (1, 1, False), (2, 0, True), (3, 1, True)])
def test_the_chapters_meaning(action: int, printed: int, aborts: bool) -> None:
    """0 ignores, 1 prints, 2 aborts, 3 prints and aborts."""
    malloc = classic(action)
    block = malloc.malloc(20)
    malloc.space.write(block + 20, b"!")
    malloc.free(block)
    assert len(malloc.messages) == printed
    assert malloc.dead is aborts
    if not aborts:
        assert malloc.malloc(20) not in (0, block)


def test_classic_messages_and_a_new_top() -> None:
    malloc = classic(1)
    block = malloc.malloc(24)
    malloc.space.write(block + 24 + 16, bytes(8))
    assert malloc.malloc(24)
    malloc.mallopt(-5, 5)
    malloc.free(block + 8)
    first, second = malloc.messages
    assert first.startswith("*** Error in `program': malloc: top chunk is corrupt: 0x0000")
    assert second == "free(): invalid pointer"


def test_the_magic_byte_lies_behind_the_bytes() -> None:
    malloc = classic(3)
    block = malloc.malloc(5)
    chunk = block - 16
    assert malloc.space.read(block + 5, 1) == bytes([((chunk >> 3) ^ (chunk >> 11)) & 255])
    assert malloc.malloc_usable_size(block) == 5
