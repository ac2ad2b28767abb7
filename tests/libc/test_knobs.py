# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every knob: with it the twin agrees with the real library, and without it it would not."""

import os
import random
from collections.abc import Mapping

import numpy as np
import pytest
from tests.libc.sides import Side, play, same

from memtwin.host.libcs import find_libc
from memtwin.host.player import Play
from memtwin.libc.tunables import TUNABLES, minor_of
from memtwin.trace.schema import Op
from memtwin.verify.libc.profiles import PROFILES
from memtwin.verify.libc.sequences import generate

ELSEWHERE = (Play.LIMIT, Play.STOP, Op.FORK)
PERTURBED = "p0 = malloc(40)\nword at p0 + 0\nword at p0 + 24\nfree(p0) and keep\nword at p0 + 16\np1 = calloc(3, 10)\nword at p1 + 8\n"
LARGE_AND_SMALL = "".join(
    f"p{i} = malloc({size})\n" for i, size in enumerate((40000, 600, 90000, 70000, 100, 200000, 30))
)
MANY = 8 * len(os.sched_getaffinity(0)) + 3  # threads: more than there are arenas by default
THREADS = "".join(f"start thread {i}\n" for i in range(1, MANY)) + "".join(
    f"thread {i}: p{i} = malloc(1000)\n" for i in range(MANY)
)
CACHED = "".join(f"p{i} = malloc(200)\n" for i in range(10)) + "".join(
    f"free(p{i})\n" for i in range(10)
) + "".join(f"p{i} = malloc(200)\n" for i in range(10))  # fmt: skip
SMALL = CACHED.replace("200", "40")
UNSORTED = (
    "".join(f"p{i} = malloc(1020)\np99 = malloc(20)\np{i + 100} = malloc(1500)\np99 = malloc(20)\n" for i in range(40))
    + "".join(f"free(p{i})\nfree(p{i + 100})\n" for i in range(40))
    + "".join(f"p{i} = malloc(1020)\n" for i in range(18))
)
TRIMMED = "".join(f"p{i} = malloc(60000)\n" for i in range(9)) + "".join(
    f"free(p{i})\n" for i in range(8, 0, -1)
) + "p9 = sbrk(0)\np5 = malloc(30)\n"  # fmt: skip

# tunable, value, script in which it matters, least release
BY_TUNABLE = (
    ("top_pad", 1 << 20, "p0 = malloc(100)\np1 = sbrk(0)\n"),
    ("perturb", 90, PERTURBED),
    ("mmap_threshold", 65536, LARGE_AND_SMALL),
    ("trim_threshold", 1 << 24, TRIMMED),
    ("mmap_max", 0, LARGE_AND_SMALL),
    ("arena_max", 2, THREADS),
    ("arena_test", 100, THREADS),
    ("tcache_max", 100, CACHED + "mallinfo()\n"),
    ("tcache_count", 3, CACHED + "mallinfo()\n"),
    ("tcache_unsorted_limit", 1, UNSORTED + "malloc_info(0)\n"),
    ("mxfast", 32, SMALL + "".join(f"free(p{i})\n" for i in range(10)) + "mallinfo()\n"),
)  # fmt: skip
# mallopt's parameter, value, script
BY_MALLOPT = (
    (1, 32, SMALL + "".join(f"free(p{i})\n" for i in range(10)) + "mallinfo()\n"),
    (-1, 1 << 24, TRIMMED),
    (-2, 1 << 20, "p0 = malloc(100)\np1 = sbrk(0)\n"),
    (-3, 65536, LARGE_AND_SMALL),
    (-4, 0, LARGE_AND_SMALL),
    (-6, 90, PERTURBED),
    (-7, 100, THREADS),
    (-8, 2, THREADS),
)
NO_FASTBINS = 43


def differs(host: Side, twin: Side) -> bool:
    """Whether the two sides are not equal."""
    try:
        same(host, twin)
    except AssertionError:
        return True
    return False


def without_the_knob(name: str, script: str, environment: Mapping[str, str], knob: str) -> tuple[Side, Side]:
    """The host with the knob, the twin without."""
    host, _, _ = play(name, script, environment)
    _, twin, _ = play(name, script.replace(knob, "") if knob else script, {})
    if knob:
        twin.results.insert(0, (1, 0))
    return host, twin


def skip_what_is_gone(any_libc: str, knob: object) -> None:
    if minor_of(find_libc(any_libc).release) >= NO_FASTBINS and knob in ("mxfast", 1):
        pytest.skip("glibc 2.43 has no fast bins: mxfast means nothing there")


@pytest.mark.parametrize(("tunable", "value", "script"), BY_TUNABLE, ids=lambda value: str(value)[:24].split("\n")[0])
def test_tunable(any_libc: str, tunable: str, value: int, script: str) -> None:
    skip_what_is_gone(any_libc, tunable)
    environment = {"GLIBC_TUNABLES": f"glibc.malloc.{tunable}={value}"}
    host, twin, _ = play(any_libc, script, environment)
    same(host, twin)
    assert differs(*without_the_knob(any_libc, script, environment, ""))


@pytest.mark.parametrize("tunable", [name for name, row in TUNABLES.items() if row.variable and name != "check"])
def test_variable(any_libc: str, tunable: str) -> None:
    _, value, script = next(row for row in BY_TUNABLE if row[0] == tunable)
    environment = {TUNABLES[tunable].variable: str(value)}
    host, twin, _ = play(any_libc, script, environment)
    same(host, twin)
    assert differs(*without_the_knob(any_libc, script, environment, ""))


@pytest.mark.parametrize(("parameter", "value", "script"), BY_MALLOPT, ids=lambda value: str(value)[:24].split("\n")[0])
def test_mallopt(any_libc: str, parameter: int, value: int, script: str) -> None:
    skip_what_is_gone(any_libc, parameter)
    knob = f"mallopt({parameter}, {value})\n"
    host, twin, _ = play(any_libc, knob + script)
    same(host, twin)
    assert host.results[0] == (1, 0)
    assert differs(*without_the_knob(any_libc, knob + script, {}, knob))


EDGES = (0, 1, -1, 2, 160, 161, 255, 256, 33554432, 33554433, 67108865, 2147483647, -2147483648)


@pytest.mark.parametrize("parameter", [1, -1, -2, -3, -4, -5, -6, -7, -8, 2, 0, 99, -9, -100])
def test_mallopts_results_and_what_follows(any_libc: str, parameter: int) -> None:
    """The parameter at its edges, one after the other: 1 or 0 as the real one, and the allocations after it."""
    calls = "p0 = malloc(100)\nfree(p0)\np0 = malloc(3000)\np1 = malloc(90000)\np2 = malloc(150000)\n"
    script = "".join(f"mallopt({parameter}, {value})\n{calls}free(p1)\n" for value in EDGES)
    host, twin, _ = play(any_libc, script)
    same(host, twin)


@pytest.mark.parametrize(
    "frozen", ["", "top_pad=131072", "mmap_threshold=131072", "trim_threshold=131072", "mmap_max=9"]
)
def test_a_set_threshold_freezes_the_dynamic_rule(any_libc: str, frozen: str) -> None:
    """After a mapped block was freed the next of that size comes from the heap, unless a threshold has been set."""
    environment = {"GLIBC_TUNABLES": f"glibc.malloc.{frozen}"} if frozen else {}
    script = "p0 = malloc(300000)\nfree(p0)\np1 = malloc(300000)\nmallinfo2()\n"
    host, twin, malloc = play(any_libc, script, environment)
    same(host, twin)
    assert malloc.mallinfo2()["hblks"] == (1 if frozen else 0)
    assert malloc.no_dyn_threshold is bool(frozen)


@pytest.mark.parametrize("profile", ["mixed", "threads", "churn"])
def test_random_work_under_random_knobs(any_libc: str, profile: str) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    words = [f"glibc.malloc.{name}={dice.choice((0, 1, 2, 7, 64, 100, 1000, 5000, 70000, 1 << 20))}"
             for name in dice.sample(sorted(set(TUNABLES) - {"check", "hugetlb"}), 4)]  # fmt: skip
    column = generate(PROFILES[profile], seed, 800, find_libc(any_libc).word)
    environment = {"GLIBC_TUNABLES": ":".join(words)}
    print(environment)
    host, twin, _ = play(any_libc, column[~np.isin(column["op"], ELSEWHERE)].copy(), environment)
    same(host, twin)
