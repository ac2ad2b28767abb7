# SPDX-License-Identifier: LGPL-2.1-or-later
"""The comparison held against the real library on both sides: silent when they are equal, loud when they are not."""

from __future__ import annotations

import pytest

from memtwin.host.libcs import SOURCES, available, find_libc
from memtwin.host.player import Play
from memtwin.trace.schema import Op
from memtwin.verify.libc import codes
from memtwin.verify.libc.compare import Repeat, compare
from memtwin.verify.libc.profiles import PROFILES, Rare
from memtwin.verify.libc.run import verify
from memtwin.verify.libc.script import FORMS, LibcScript, format_operation, parse_operation, parse_script
from memtwin.verify.libc.sequences import generate, slots_of

SLOTS = 1 << 14


@pytest.fixture(params=list(SOURCES))
def libc(request: pytest.FixtureRequest):
    if request.param not in available():
        pytest.skip(f"no C library {request.param}: make libcs")
    return find_libc(request.param)


def test_two_processes_agree_in_everything_but_the_random_key(libc):
    """tcache_key is random from 2.34 on: it is the one word in which two processes may differ."""
    column = generate(PROFILES["small"], 1, 4000, libc.word)
    settings = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
    assert compare(libc, column, SLOTS, settings, Repeat) is None


@pytest.mark.parametrize("name", ["threads", "churn", "fork", "forked-threads", "failure", "foreign", "heaps", "knobs"])
def test_every_profile_repeats_itself(name):
    libc = find_libc("2.36")
    profile = PROFILES[name]
    column = generate(profile, 2, 5000, libc.word)
    settings = {**profile.environments[0], "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
    assert compare(libc, column, slots_of(profile), settings, Repeat) is None


def test_another_setting_is_found_and_shrunk(libc):
    def with_other_setting(player, environment):
        return Repeat(player, {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=2"})

    report = verify(libc, "negative control", 3000, with_other_setting, ["bins"], most_differences=1)
    assert len(report.differences) == 1
    found = report.differences[0]
    assert found.length <= 8, found.script
    script = parse_script(found.script)
    assert compare(libc, script.operations, script.slots, {}, with_other_setting) is not None
    assert compare(libc, script.operations, script.slots, {}, Repeat) is None


@pytest.mark.parametrize("name", list(PROFILES))
def test_scripts_say_the_whole_column(name):
    column = generate(PROFILES[name], 3, 2000)
    again = parse_script(LibcScript(column, "2.41", {"MALLOC_ARENA_MAX": "1"}).format())
    assert (again.operations == column).all()
    assert (again.libc, again.environment) == ("2.41", {"MALLOC_ARENA_MAX": "1"})


@pytest.mark.parametrize("form", FORMS.values())
def test_every_form_is_read_as_it_is_written(form):
    line = form.format(slot="p7", other="p3", size=-4, argument=3, byte=9, high=-1, low=5, top=6, offset=4096)
    assert parse_operation(line) is not None
    fields = {
        "slot": "p7",
        "other": "p3",
        "size": 44,
        "argument": 3,
        "byte": 9,
        "high": -1,
        "low": 5,
        "top": 6,
        "offset": 8,
    }
    line = form.format(**fields)
    assert format_operation(parse_operation(line)[0]) == line


def test_codes_are_the_enumerations():
    for op in (*Op, *Play):
        if hasattr(codes, op.name):
            assert getattr(codes, op.name) == op
    assert all(getattr(codes, f"RARE_{rare.name}") == rare for rare in Rare)
    assert all(hasattr(codes, op.name) for op in Play)
