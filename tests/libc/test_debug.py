# SPDX-License-Identifier: LGPL-2.1-or-later
"""MALLOC_CHECK_ and the debug library, against the real ones."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.libc.sides import Side, host_side, perform, same, slots_of

from memtwin.errors import UserError
from memtwin.host.libcs import Libc, find_libc
from memtwin.host.player import Play, Player
from memtwin.kernel.addrspace import AddressSpace
from memtwin.libc.debug import CheckedMalloc, new_malloc
from memtwin.libc.malloc import Malloc
from memtwin.libc.tunables import minor_of
from memtwin.trace.schema import Op
from memtwin.verify.libc.profiles import PROFILES
from memtwin.verify.libc.script import parse_script
from memtwin.verify.libc.sequences import generate
from memtwin.verify.libc.twin import space_like

ELSEWHERE = (Play.LIMIT, Play.STOP, Op.FORK, Op.THREAD_START, Op.THREAD_EXIT, Op.SBRK, Op.MALLOPT)


class DebugPlayer(Player):
    """A player whose calls go to the preloaded debug library, where there is one."""

    def __init__(self, libc: Libc, operations: npt.NDArray[Any], slots: int, environment: Mapping[str, str]) -> None:
        self.debug = libc.directory / "libc_malloc_debug.so.0"
        preload = (str(self.debug),) if minor_of(libc.release) >= 34 else ()
        super().__init__(libc, operations, slots, environment, preload=preload)

    def _functions(self, library: Path) -> dict[str, int]:
        found = super()._functions(library)
        if library == self.libc.libc and minor_of(self.libc.release) >= 34:
            found |= super()._functions(self.debug)
        return found


def play(name: str, column: npt.NDArray[Any] | str, check: int) -> tuple[Side, Side]:
    """Both sides under MALLOC_CHECK_=`check`."""
    if isinstance(column, str):
        column = parse_script(column).operations
    libc, slots = find_libc(name), slots_of(column)
    preloaded = minor_of(libc.release) >= 34
    with DebugPlayer(libc, column, slots, {"MALLOC_CHECK_": str(check)}) as player:
        malloc = new_malloc(
            space_like(player),
            libc.release,
            {"check": check},
            preloaded,
            data_model=libc.data_model,
            main_arena=player.main_arena(),
            mp=player.mp(),
        )
        while player.run() is not None:
            pass
        host = host_side(player)
        twin = perform(malloc, player.operations, slots, 50)
    return host, twin


@pytest.mark.parametrize("check", [0, 1, 3])
@pytest.mark.parametrize("profile", ["tiny", "mixed", "large", "aligned", "realloc"])
def test_equal_after_random_calls(any_libc: str, profile: str, check: int) -> None:
    if minor_of(find_libc(any_libc).release) > 36:
        pytest.skip(
            f"the debug library of {any_libc} is not modelled: where it checks, it names each mapping (prctl PR_SET_VMA, "
            "which leaves EINVAL in errno on kernels without CONFIG_ANON_VMA_NAME) and 2.43's makes no thread cache; "
            "where it does not, some aligned calls fail that the twin serves"
        )
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
}


@pytest.mark.parametrize("case", DAMAGE)
@pytest.mark.parametrize("check", [0, 2])
def test_equal_last_words(libc: str, case: str, check: int) -> None:
    host, twin = play(libc, DAMAGE[case], check)
    assert (host.signal, host.message) == (twin.signal, twin.message)


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
