# SPDX-License-Identifier: LGPL-2.1-or-later
"""The same scripts on twin and host: the lessons agree in every value that can be equal, and a difference is told."""

from __future__ import annotations

import pytest

from memtwin.errors import UserError
from memtwin.host.libcs import host_release
from memtwin.lab.lessons import lessons
from memtwin.libc.tunables import minor_of
from memtwin.verify.script import _Keys, verify_script


@pytest.mark.parametrize("row", lessons())
def test_a_lesson_agrees_with_the_real_machine(row: str) -> None:
    report = verify_script(lessons()[row].script)
    assert report.lines
    assert [line for line in report.lines if line.differs] == []
    assert report.maps_differ == ()


def test_signals_and_messages_are_compared() -> None:
    report = verify_script("p = malloc(10)\nfree(p)\nfree(p)")
    assert [line.differs for line in report.lines] == [(), (), ()]
    assert report.lines[-1].twin == "signal 6: free(): double free detected in tcache 2"


OVERRUN = "p = malloc(24)\nmemset(p, 65, 25)\nq = malloc(24)\nfree(p)\nfree(q)\nx = read(p, 24)\n"


@pytest.mark.parametrize(
    ("environment", "aborts"),
    [
        ("MALLOC_CHECK_ = 3", minor_of(host_release()) < 34),
        ('LD_PRELOAD = "libc_malloc_debug.so.0"', False),
        ('LD_PRELOAD = "libc_malloc_debug.so.0"\nMALLOC_CHECK_ = 3', True),
        ("MALLOC_TOP_PAD_ = 1048576\nMALLOC_PERTURB_ = 165", False),
        ('GLIBC_TUNABLES = "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0"', False),
    ],
)
def test_an_environment_has_the_same_effect_on_both_sides(environment: str, aborts: bool) -> None:
    report = verify_script(f"{environment}\n{OVERRUN}")
    assert report.differences == 0
    assert report.lines[3].twin == ("signal 6: free(): invalid pointer" if aborts else "")


def test_keys_of_free_blocks_are_the_same_all_the_time() -> None:
    keys = _Keys(0x1122334455667788)
    ours = bytes(8) + keys.twin
    assert keys.same(ours, bytes(8) + b"abcdefgh")
    assert keys.same(ours, bytes(8) + b"abcdefgh")
    assert not keys.same(ours, bytes(8) + b"another!")
    assert not keys.same(b"short", b"longer")


def test_a_mistake_in_the_script_is_told_with_its_line() -> None:
    with pytest.raises(UserError, match="line 2"):
        verify_script("p = malloc(1)\nsecret()")
