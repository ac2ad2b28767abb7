# SPDX-License-Identifier: LGPL-2.1-or-later
"""Libraries are found, told apart by release, and what is missing is named."""

from __future__ import annotations

import subprocess

import pytest

from memtwin.errors import UserError
from memtwin.host.libc_symbols import read_symbols
from memtwin.host.libcs import SOURCES, available, find_libc


@pytest.mark.parametrize("name", SOURCES)
def test_a_library_says_its_release_itself(name):
    if name not in available():
        pytest.skip(f"no C library {name}: make libcs")
    libc = find_libc(name)
    banner = subprocess.run([libc.loader, "--library-path", libc.directory, libc.libc], capture_output=True, text=True)
    assert f"release version {libc.release}." in banner.stdout


@pytest.mark.parametrize("name", SOURCES)
def test_main_arena_lies_behind_mp(name):
    if name not in available():
        pytest.skip(f"no C library {name}: make libcs")
    symbols = read_symbols(find_libc(name).libc)
    assert 0 < symbols.main_arena - symbols.mp < 0x1000


def test_what_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("MEMTWIN_LIBCS", str(tmp_path))
    with pytest.raises(UserError, match=r"2.43 is not here: fetch it"):
        find_libc("2.43")
    with pytest.raises(UserError, match=r"no libc is known as 1.0: choose from 2.31"):
        find_libc("1.0")
