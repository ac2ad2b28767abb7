# SPDX-License-Identifier: LGPL-2.1-or-later
import pytest

from memtwin.host.libcs import available, find_libc
from memtwin.libc.release import RELEASES


def modelled(words: tuple[int, ...] = (8,)) -> list[str]:
    """Names of the real libraries that are here and whose release the twin models, with words of so many bytes."""
    found = [find_libc(name) for name in available()]
    return [libc.name for libc in found if libc.word in words and libc.release in RELEASES]


MISSING = [pytest.param("2.36", marks=pytest.mark.skip("no real C library: make libcs"))]


@pytest.fixture(params=modelled() or MISSING)
def libc(request: pytest.FixtureRequest) -> str:
    """A real 64-bit library that the twin can be compared with."""
    return str(request.param)


@pytest.fixture(params=modelled((4, 8)) or MISSING)
def any_libc(request: pytest.FixtureRequest) -> str:
    """A real library that the twin can be compared with, 32-bit ones too."""
    return str(request.param)
