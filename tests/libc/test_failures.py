# SPDX-License-Identifier: LGPL-2.1-or-later
"""No memory: what fails, with which errno, and how the heap goes on, against the real library."""

import pytest
from tests.libc.sides import play, same

from memtwin.errors import Exited
from memtwin.kernel.addrspace import AddressSpace
from memtwin.libc.check import validate_heap
from memtwin.libc.malloc import Malloc
from memtwin.twin.machine import Machine

PTRDIFF_MAX = 2**63 - 1
SIZES = (PTRDIFF_MAX - 40, PTRDIFF_MAX - 8, PTRDIFF_MAX, PTRDIFF_MAX + 1, 2**64 - 4096, 2**64 - 17, 2**64 - 1)
CALLS = (
    "p0 = malloc({})", "p0 = calloc({}, 1)", "p0 = calloc(1, {})", "p0 = realloc(p0, {})", "p0 = memalign(64, {})",
    "posix_memalign(p0, 64, {})", "p0 = aligned_alloc(64, {})", "p0 = valloc({})", "p0 = pvalloc({})",
    "p0 = memalign(4096, {})", "p0 = reallocarray(p0, {}, 1)",
)  # fmt: skip
AFTER = "p1 = malloc(100)\nmallinfo2()\n"


@pytest.mark.parametrize("call", CALLS)
def test_sizes_that_cannot_be(libc: str, call: str) -> None:
    host, twin, _ = play(libc, "p0 = malloc(10)\n" + "".join(call.format(size) + "\n" for size in SIZES) + AFTER)
    same(host, twin)
    assert host.results[3][1] == 12


@pytest.mark.parametrize("name", ["calloc({}, {})", "reallocarray(p0, {}, {})"])
def test_products_that_overflow(libc: str, name: str) -> None:
    factors = [(2**32, 2**32), (2**33, 2**31), (2**32 - 1, 2**32 + 1), (3, 2**63), (2**63, 2), (0, 2**64 - 1), (5, 0)]
    script = "p0 = malloc(10)\n" + "".join(f"p0 = {name.format(*pair)}\n" for pair in factors) + AFTER
    host, twin, _ = play(libc, script)
    same(host, twin)


@pytest.mark.parametrize("alignment", [0, 1, 3, 8, 24, 48, 2**62, 2**63, 2**63 + 1, 2**64 - 1])
def test_alignments(libc: str, alignment: int) -> None:
    script = "".join(
        f"{call.format(alignment)}\n"
        for call in ("p0 = memalign({}, 100)", "posix_memalign(p1, {}, 100)", "p2 = aligned_alloc({}, 100)")
    )
    host, twin, _ = play(libc, script + AFTER)
    same(host, twin)


def test_mmap_max_reached(libc: str) -> None:
    """The third large block finds the limit of two and comes from the heap."""
    script = (
        "mallopt(-4, 2)\n" + "".join(f"p{i} = malloc(200000)\n" for i in range(4)) + "mallinfo2()\nmalloc_stats()\n"
    )
    host, twin, _ = play(libc, script)
    same(host, twin)
    assert host.values[0][3] == 2


@pytest.mark.parametrize("increment", [8, 4096, 4104, 40960, 1048576])
def test_somebody_elses_sbrk(libc: str, increment: int) -> None:
    """The old top is fenced off and freed, the heap goes on above what the program took."""
    grow = "".join(f"p{i} = malloc(50000)\n" for i in range(6))
    script = (
        f"{grow}p9 = sbrk({increment})\n{grow.replace('p', 'p1')}free(p12)\nfree(p14)\nmallinfo2()\nmalloc_info(0)\n"
    )
    host, twin, malloc = play(libc, script, check_every=1)
    same(host, twin)
    assert len(malloc.pieces) == 2


def test_sbrk_before_the_first_call(libc: str) -> None:
    host, twin, _ = play(libc, "p9 = sbrk(24)\np0 = malloc(10)\np1 = malloc(200000)\nmallinfo2()\n", check_every=1)
    same(host, twin)


def test_blocked_break_goes_on_in_a_mapping() -> None:
    """Something is mapped right above the heap: the arena is of several pieces from then on."""
    malloc = Malloc(AddressSpace(window_bits=40))
    malloc.malloc(100)
    end = malloc.space.sys_brk(0)
    assert malloc.space.sys_mmap(end, 4096, 3, 0x32, None, 0) == end
    first = malloc.malloc(100_000)
    blocks = [malloc.malloc(100_000) for _ in range(12)]
    assert first < end
    assert all(blocks) and min(blocks) > end
    validate_heap(malloc)
    for block in blocks:
        malloc.free(block)
    validate_heap(malloc)
    assert malloc.malloc(1000)


def test_the_chapters_helpers_end_the_process() -> None:
    process = Machine("64 MiB").spawn(glibc="2.36")
    block = process.malloc0(30)
    assert process.read(block, 30) == bytes(30)
    assert process.xmalloc(10)
    with pytest.raises(Exited, match="out of memory"):
        process.xmalloc0(1 << 60)


@pytest.mark.parametrize("pad", [0, 1, 5000, 186822])
def test_trim_of_the_smallest_top_moves_the_break_up(libc: str, pad: int) -> None:
    """glibc's own mistake: with a top of 32 bytes malloc_trim takes memory, and says that it gave some back."""
    first = "p0 = malloc(50000)\nfree(p0)\np0 = malloc(50000)\n"
    _, _, malloc = play(libc, first)
    rest = malloc.mallinfo2()["keepcost"] - 32
    script = f"{first}p1 = malloc({rest - 8})\nmallinfo2()\nmalloc_trim({pad})\nmallinfo2()\nmalloc_info(0)\np2 = malloc(100)\n"
    host, twin, _ = play(libc, script)
    same(host, twin)
    before, after = host.values
    assert before[9] == 32
    assert after[0] > before[0]
