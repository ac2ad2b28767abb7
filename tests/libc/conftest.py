# SPDX-License-Identifier: LGPL-2.1-or-later
import pytest

from memtwin.host.libcs import available, find_libc
from memtwin.libc.release import RELEASES


def modelled() -> list[str]:
    """Names of the real libraries that are here and whose release the twin models, 64-bit."""
    found = [find_libc(name) for name in available()]
    return [libc.name for libc in found if libc.word == 8 and libc.release in RELEASES]


@pytest.fixture(params=modelled() or [pytest.param("2.36", marks=pytest.mark.skip("no real C library: make libcs"))])
def libc(request: pytest.FixtureRequest) -> str:
    """A real library that the twin can be compared with."""
    return str(request.param)
