# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an environment sets, and MALLOC_CHECK_ in a process that is made so."""

from __future__ import annotations

import contextlib

import pytest

from memtwin import Aborted, Machine, Process
from memtwin.twin.environment import settings_of

DEBUG = {"LD_PRELOAD": "other.so /usr/lib/libc_malloc_debug.so.0"}


@pytest.mark.parametrize(
    ("environment", "release", "check"),
    [
        ({}, "2.33", None),
        ({}, "2.36", None),
        ({"MALLOC_CHECK_": "3"}, "2.33", 3),
        ({"MALLOC_CHECK_": "3"}, "2.34", None),
        ({"MALLOC_CHECK_": "3"} | DEBUG, "2.34", 3),
        ({"GLIBC_TUNABLES": "glibc.malloc.check=1"} | DEBUG, "2.36", 1),
        ({"MALLOC_CHECK_": "4"}, "2.33", None),
        (DEBUG, "2.36", 0),
        (DEBUG, "2.33", None),
        ({"MALLOC_CHECK_": "3", "LD_PRELOAD": "libother.so"}, "2.36", None),
    ],
)
def test_malloc_check_works_where_glibc_has_it(environment: dict[str, str], release: str, check: int | None) -> None:
    assert settings_of(environment, release)["malloc_check"] == check


def test_the_rest_of_an_environment_are_tunables() -> None:
    environment = {"MALLOC_ARENA_MAX": "1", "GLIBC_TUNABLES": "glibc.malloc.mxfast=0", "MALLOC_CHECK_": "3"}
    assert settings_of(environment, "2.31")["tunables"] == {"arena_max": 1, "mxfast": 0}


def freed_after_an_overrun(check: int) -> Process:
    process = Machine(ram="16 MiB").spawn(glibc="2.31", malloc_check=check, classic_check=True)
    p = process.malloc(24)
    process.memset(p, 65, 25)
    with contextlib.suppress(Aborted):
        process.free(p)
    return process


def test_the_classic_values_ignore_report_end_or_both() -> None:
    """MALLOC_CHECK_ in mallopt(3) of glibc 2.25: bit 0 prints, bit 1 aborts."""
    made = [freed_after_an_overrun(check) for check in range(4)]
    assert [process.ended is not None for process in made] == [False, False, True, True]
    assert ["free(): invalid pointer" in " ".join(process.messages) for process in made] == [False, True, False, True]
