# SPDX-License-Identifier: LGPL-2.1-or-later
"""GLIBC_TUNABLES and MALLOC_ variables, read as the real loaders read them (ld.so --list-tunables, since 2.33)."""

import random
import re
import subprocess

import pytest

from memtwin.errors import UserError
from memtwin.host.libcs import Libc, available, find_libc
from memtwin.kernel.addrspace import AddressSpace
from memtwin.libc.malloc import Malloc
from memtwin.libc.tunables import PREFIX, TUNABLES, read_number, tunables_of

LISTING = [libc for libc in map(find_libc, available()) if libc.word == 8 and libc.release not in ("2.31", "2.32")]
VALUES = (
    "0", "1", "7", "15", "16", "255", "256", "1032", "65536", "131072", "2147483647", "2147483648", "4294967295",
    "4294967296", "9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616",
    "99999999999999999999999", "-1", "-0", "-5", "+5", "-9223372036854775808", "0x10", "0X1f", "0x", "0xg", "010", "08",
    "0x0x1", "", " 12", "\t9", "12 ", "12kB", "many", "1=2", "--1", "1e3", "0b1", "0x10000000000000000",
)  # fmt: skip
NAMES = [*TUNABLES, "no_such", "top", "check2"]


def listed(libc: Libc, environment: dict[str, str]) -> dict[str, int]:
    """What the loader makes of the environment, as it prints it."""
    command = [str(libc.loader), "--list-tunables"]
    text = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    found = re.findall(rf"^{re.escape(PREFIX)}(\w+): (\S+) \(", text, re.M)
    return {name: int(value, 0) for name, value in found}


def random_environment(dice: random.Random) -> dict[str, str]:
    words = []
    for _ in range(dice.randrange(5)):
        word = dice.choice(("glibc.malloc.", "glibc.malloc.", "glibc.malloc.", "glibc.", "")) + dice.choice(NAMES)
        words.append(word if dice.random() < 0.1 else f"{word}={dice.choice(VALUES)}")
    environment = {"GLIBC_TUNABLES": dice.choice((":", ":", ":", "::")).join(words)} if words else {}
    for tunable in TUNABLES.values():
        if tunable.variable and dice.random() < 0.15:
            environment[tunable.variable] = dice.choice(VALUES)
    return environment


@pytest.mark.parametrize("libc", LISTING, ids=lambda libc: libc.name)
def test_read_as_the_loader_reads_them(libc: Libc) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    unset = listed(libc, {})
    for _ in range(60):
        environment = random_environment(dice)
        ours = tunables_of(environment, libc.release)
        expected = {name: ours.get(name, value) for name, value in unset.items()}
        assert listed(libc, environment) == expected, environment


def test_numbers() -> None:
    assert read_number("0x1F:") == (31, ":")
    assert read_number("-1") == (2**64 - 1, "")
    assert read_number("much") == (0, "much")


def test_releases_differ() -> None:
    environment = {"GLIBC_TUNABLES": "glibc.malloc.mxfast=64kB:glibc.malloc.hugetlb=1:tail"}
    assert tunables_of(environment, "2.31") == {"mxfast": 64}
    assert tunables_of(environment, "2.36") == {"mxfast": 64, "hugetlb": 1}
    assert tunables_of(environment, "2.41") == {}
    assert tunables_of({"MALLOC_MMAP_MAX_": "-1"}, "2.31") == {"mmap_max": -1}
    assert tunables_of({"MALLOC_MMAP_MAX_": "-1"}, "2.36") == {}


def test_the_string_wins_over_the_variable() -> None:
    both = {"MALLOC_ARENA_MAX": "1", "GLIBC_TUNABLES": "glibc.malloc.arena_max=2"}
    assert tunables_of(both) == {"arena_max": 2}
    assert tunables_of({**both, "GLIBC_TUNABLES": "glibc.malloc.arena_max=0"}) == {"arena_max": 1}


def test_a_name_that_the_release_lacks() -> None:
    with pytest.raises(UserError, match="no tunable 'mmap_treshold'"):
        Malloc(AddressSpace(window_bits=40), tunables={"mmap_treshold": 1})
