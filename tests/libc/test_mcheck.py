# SPDX-License-Identifier: LGPL-2.1-or-later
"""mcheck(3) in the twin and in the real libraries: addresses, every word, statuses and last words."""

import random

import numpy as np
import pytest
from tests.libc.debugging import play
from tests.libc.sides import same
from tests.libc.test_debug import ELSEWHERE, KINDS

from memtwin import Machine
from memtwin.errors import Aborted, UserError
from memtwin.host.libcs import find_libc
from memtwin.host.player import OPERATION, Play
from memtwin.kernel.addrspace import AddressSpace
from memtwin.libc.mcheck import MCHECK_DISABLED, MCHECK_HEAD, MCHECK_OK, MCHECK_TAIL, MESSAGES, McheckMalloc
from memtwin.trace.schema import Op
from memtwin.verify.libc.profiles import PROFILES
from memtwin.verify.libc.sequences import generate

ALIGNED = (Op.MEMALIGN, Op.POSIX_MEMALIGN, Op.ALIGNED_ALLOC, Op.VALLOC, Op.PVALLOC)


def column_of(profile: str, seed: int, word: int, mode: int, aligned: bool) -> np.ndarray:
    """Random calls after mcheck() or mcheck_pedantic(). aligned: those of the memalign family are among them.

    realloc of an aligned block ends the process, so that a column has only one of both.
    """
    column = generate(PROFILES[profile], seed, 600, word)
    out = (*ELSEWHERE, *((Op.REALLOC, Op.REALLOCARRAY) if aligned else ALIGNED))
    first = np.zeros(1, OPERATION)
    first["op"], first["byte"] = Play.MCHECK, mode
    return np.concatenate([first, column[~np.isin(column["op"], out)]])


@pytest.mark.parametrize("check", [0, 3])
@pytest.mark.parametrize("mode", [0, 1])
@pytest.mark.parametrize("profile", KINDS)
def test_equal_after_random_calls(any_libc: str, profile: str, mode: int, check: int) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    column = column_of(profile, seed, find_libc(any_libc).word, mode, profile in ("aligned", "threads"))
    same(*play(any_libc, column, check, mcheck=True))


# Cases of misuse. {h}: bytes of the header; {size}, {magic}, {prev}, {block}, {magic2}: where its words lie, from the
# user's pointer.
BLOCKS = "p0 = malloc(20)\np1 = malloc(1000)\np2 = memalign(64, 100)\n"
CASES = {
    "good": BLOCKS + "mprobe(p0)\nmprobe(p1)\nmprobe(p2)\nfree(p1)\nfree(p0)\nfree(p2)\n",
    "past-end": BLOCKS + "word at p0 + 20 := 0\nmprobe(p0)\nfree(p0)\n",
    "past-end-realloc": BLOCKS + "word at p1 + 1000 := 0\np1 = realloc(p1, 2000)\n",
    "size": BLOCKS + "word at p0 + {size} := 21\nmprobe(p0)\nfree(p0)\n",
    "size-wild": BLOCKS + "word at p0 + {size} := 0x3fffffff\nmprobe(p0)\n",
    "magic": BLOCKS + "word at p0 + {magic} := 0\nmprobe(p0)\nfree(p0)\n",
    "magic-of-freed": BLOCKS + "word at p0 + {prev} := 0\nword at p0 + {next} := 0\nword at p0 + {magic} := 0xd8675309\n"
    "mprobe(p0)\nfree(p0)\n",
    "prev": BLOCKS + "word at p0 + {prev} := 16\nmprobe(p0)\nfree(p0)\n",
    "block": BLOCKS + "word at p2 + {block} := p0 + 0\nmprobe(p2)\nfree(p2)\n",
    "magic2": BLOCKS + "word at p0 + {magic2} := 0\nmprobe(p0)\nfree(p0)\n",
    "twice": BLOCKS + "free(p1) and keep\nmprobe(p1)\nfree(p1)\n",
    "twice-small": BLOCKS + "free(p0) and keep\nmprobe(p0)\nfree(p0)\n",
    "twice-aligned": BLOCKS + "free(p2) and keep\nmprobe(p2)\nfree(p2)\n",
    "realloc-freed": BLOCKS + "free(p1) and keep\np1 = realloc(p1, 10)\n",
    "middle": BLOCKS + "p3 := p1 + 512\nmprobe(p3)\nfree(p3)\n",
    "realloc-aligned": BLOCKS + "p2 = realloc(p2, 200)\n",
    "realloc-aligned-smaller": BLOCKS + "p2 = realloc(p2, 20)\n",
    "realloc-of-none": BLOCKS + "p3 = realloc(p3, 10)\np4 = realloc(p4, 0)\nmprobe(p3)\n",
    "realloc-to-nothing": BLOCKS + "p0 = realloc(p0, 0)\nfree(p0)\n",
    "realloc-too-large": BLOCKS + "p1 = realloc(p1, 0x3fffffffffffff)\nmcheck_check_all()\nfree(p1)\nfree(p0)\nfree(p2)\n",
    "small-alignments": BLOCKS + "p3 = memalign(8, 100)\np4 = aligned_alloc(16, 40)\nposix_memalign(p5, 8, 3)\nmprobe(p3)\n"
    "free(p3)\nfree(p4)\nfree(p5)\n",
    "odd-alignments": BLOCKS + "p3 = memalign(48, 100)\np4 = memalign(3000, 10)\np5 = memalign(1, 10)\nmprobe(p3)\n",
    "refused": BLOCKS + "p3 = malloc(-1)\np4 = calloc(-1, 2)\np5 = memalign(64, -1)\np6 = realloc(p6, -1)\n"
    "p7 = malloc(0x7fffffffffffffff)\np8 = memalign(0x8000000000000000, 10)\nfree(p9)\np0 = realloc(p0, -40)\n",
    "zeros": BLOCKS + "free(p1)\np3 = calloc(10, 100)\nword at p3 + 8\np4 = valloc(10)\np5 = pvalloc(10)\nmprobe(p5)\n",
    "usable": BLOCKS + "malloc_usable_size(p0)\nmalloc_usable_size(p2)\nmalloc_usable_size(p9)\n",
    "usable-negative": BLOCKS + "word at p0 + {size} := 0x80000000\nmalloc_usable_size(p0)\n",
    "check-all": BLOCKS + "word at p0 + 20 := 0\nword at p2 + {magic} := 1\nmcheck_check_all()\np3 = malloc(10)\nfree(p1)\n",
    "late": "p0 = malloc(20)\nmcheck()\nmprobe(p0)\nfree(p0)\n",
    "late-pedantic": "p0 = malloc(20)\nmcheck_pedantic()\nmcheck_check_all()\nfree(p0)\n",
    "again": "p0 = malloc(20)\nmcheck_pedantic() and go on\nword at p0 + 20 := 0\nmprobe(p0)\np1 = malloc(10)\n",
    "after-mallopt": "mallopt(-3, 65536)\nmcheck()\np0 = malloc(70000)\nmprobe(p0)\n",
    "thread-ends": BLOCKS + "start thread 1\nthread 1: p3 = malloc(20)\nthread 1: exit thread\nfree(p3)\nmcheck_check_all()\n",
    "thread-ends-with-cached": BLOCKS + "start thread 1\nthread 1: p3 = malloc(20)\nthread 1: p4 = malloc(20)\n"
    "thread 1: free(p3)\nthread 1: free(p4)\nthread 1: exit thread\np5 = malloc(20)\n",
    "none-of-zero": BLOCKS + "mprobe(p9)\n",
    "check-all-before": "mcheck_check_all()\nmprobe(p0)\n",
}  # fmt: skip
FIRST = {
    "abort": ("mcheck()\n", 0),
    "go-on": ("mcheck() and go on\n", 0),
    "checked-pedantic": ("mcheck_pedantic() and go on\n", 3),
    "not-asked": ("", 0),
}
seen: dict[str, set[str]] = {}  # libc: the last words that its cases gave


def script_of(case: str, word: int) -> str:
    """The case's script for words of so many bytes."""
    header = 48 if word == 8 else 32
    names = ("size", "magic", "prev", "next", "block", "magic2")
    return CASES[case].format(**{name: word * i - header for i, name in enumerate(names)})


@pytest.mark.parametrize(
    ("case", "first"),
    [
        (case, first) for case in CASES for first in FIRST if FIRST[first][0] or "{" not in CASES[case]
    ],  # pokes need headers
)
def test_equal_when_misused(any_libc: str, case: str, first: str) -> None:
    begin, check = FIRST[first]
    host, twin = play(any_libc, begin + script_of(case, find_libc(any_libc).word), check, mcheck=True)
    seen.setdefault(any_libc, set()).add(host.message)
    done = min(len(host.results), len(twin.results)) if host.signal else len(host.results)
    assert host.results[:done] == twin.results[:done]
    assert host.told == twin.told
    assert (host.signal, host.message.removeprefix("player: ")) == (twin.signal, twin.message)


def test_every_message_was_among_them(any_libc: str) -> None:
    if len(seen.get(any_libc, ())) < 3:
        pytest.skip("the cases were not all run before this")
    assert set(MESSAGES.values()) <= seen[any_libc]


@pytest.mark.parametrize("release", ["2.31", "2.33", "2.34", "2.43"])
def test_a_program_that_calls_mcheck_first(release: str) -> None:
    process = Machine("64 MiB").spawn(glibc=release, mcheck="mcheck")
    block = process.malloc(20)
    assert process.mprobe(block) == MCHECK_OK
    assert process.read(block, 21) == bytes([0x93] * 20 + [0xD7])
    child = process.fork()
    child.write(block + 20, b"!")
    with pytest.raises(Aborted, match="past end of allocated block"):
        child.free(block)
    process.free(block)
    process.write(process.malloc(1) - 40, bytes(8))
    with pytest.raises(Aborted, match="before allocated block"):
        process.mcheck_check_all()


def test_without_mcheck_there_is_nothing_to_probe() -> None:
    process = Machine("64 MiB").spawn(glibc="2.43")
    process.mcheck_check_all()
    assert process.mprobe(process.malloc(20)) == MCHECK_DISABLED
    with pytest.raises(UserError, match="mcheck_pedantic"):
        Machine("64 MiB").spawn(mcheck="yes")


def test_new_releases_need_the_library() -> None:
    malloc = McheckMalloc(AddressSpace(window_bits=40), "2.43")
    assert malloc.mcheck() == -1
    assert malloc.mprobe(malloc.malloc(10)) == MCHECK_DISABLED


def test_a_function_in_place_of_abort_is_told() -> None:
    told: list[int] = []
    malloc = McheckMalloc(AddressSpace(window_bits=40), "2.43", preloaded=True)
    assert malloc.mcheck(told.append, pedantic=True) == 0
    block, other = malloc.malloc(20), malloc.malloc(30)
    malloc.space.write(block + 20, b"!")
    malloc.space.write(other - 40, bytes(8))
    malloc.mcheck_check_all()
    assert told == [MCHECK_HEAD, MCHECK_TAIL]  # the newest first
    assert malloc.mprobe(block) == MCHECK_TAIL
    assert not malloc.dead
