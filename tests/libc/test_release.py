# SPDX-License-Identifier: LGPL-2.1-or-later
"""The table of differences: complete rows, releases in order, unknown ones refused by name."""

import pytest

from memtwin.errors import UserError
from memtwin.kernel.addrspace import AddressSpace
from memtwin.libc.malloc import Malloc
from memtwin.libc.parameters import mp_bytes
from memtwin.libc.release import (
    DEFAULT,
    ILP32_RELEASES,
    RELEASES,
    ROWS,
    VERIFIED,
    Release,
    find_release,
    nearest_release,
    number,
    taken_for,
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_rows_cite_their_source(row):
    assert row.first in RELEASES
    assert len(row.commit) >= 10 and int(row.commit, 16)
    assert row.subject and row.effect
    assert not row.until or number(row.first) < number(row.until)


@pytest.mark.parametrize("release", RELEASES)
def test_each_release_allocates(release):
    malloc = Malloc(AddressSpace(window_bits=40), release)
    blocks = [malloc.malloc(size) for size in (10, 100, 2000, 300_000)]
    assert all(blocks) and len(set(blocks)) == 4
    for block in blocks:
        malloc.free(block)
    assert malloc.abort is None
    assert len(mp_bytes(malloc)) == Release(release).mp_size


def test_the_verified_ones_are_known():
    assert set(VERIFIED) <= set(RELEASES) and DEFAULT in VERIFIED


@pytest.mark.parametrize("name", ["2.30", "2.99", "3.0", "", "2", "two", "2.x", "2.36.1.1"])
def test_unknown_release_is_refused_with_the_list(name):
    with pytest.raises(UserError, match=r"known releases are 2\.31, .*2\.43"):
        find_release(name)


@pytest.mark.parametrize(("name", "nearest"), [("2.30", "2.31"), ("2.44", "2.43"), ("2.36", "2.36"), ("1.0", "2.31"),
                                               ("3.1", "2.43"), ("2.36.9000", "2.36")])  # fmt: skip
def test_nearest(name, nearest):
    assert nearest_release(name) == nearest


def test_nearest_of_no_release():
    with pytest.raises(UserError, match="no glibc release"):
        nearest_release("new")


def test_nearest_is_told_in_one_line():
    assert taken_for("2.36") == "glibc 2.36 is modelled: it is taken as it is"
    assert taken_for("2.44") == "glibc 2.44 is not modelled: the nearest release is taken, 2.43"
    assert nearest_release("2.40", VERIFIED) == "2.41"


@pytest.mark.parametrize("release", ILP32_RELEASES)
def test_each_32_bit_release_allocates(release):
    malloc = Malloc(AddressSpace(window_bits=32, compat=True), release, data_model="ILP32")
    blocks = [malloc.malloc(size) for size in (10, 100, 2000, 300_000)]
    assert all(block % 16 == 0 for block in blocks) and len(set(blocks)) == 4
    for block in blocks:
        malloc.free(block)
    assert malloc.abort is None and malloc.malloc(1 << 31) == 0
    assert len(mp_bytes(malloc)) == Release(release, 4).mp_size == 76
    assert Release(release, 4).state_size == 1116


@pytest.mark.parametrize(("release", "model"), [("2.41", "ILP32"), ("2.36", "LLP64"), ("2.99", "ILP32")])
def test_what_is_not_known_of_a_data_model_is_refused(release, model):
    with pytest.raises(UserError, match="not modelled"):
        find_release(release, model)
