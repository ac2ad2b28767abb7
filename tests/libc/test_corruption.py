# SPDX-License-Identifier: LGPL-2.1-or-later
"""Each case of misuse on the real library and in the twin: the same results, the same signal, the same last words."""

import pytest
from tests.libc.corruption import CASES, ENDLESS, MESSAGES, for_ilp32
from tests.libc.sides import Side, play

from memtwin.host.libcs import find_libc
from memtwin.host.player import Play
from memtwin.verify.libc.script import parse_script

seen: dict[str, set[str]] = {}  # libc: the messages that its cases gave


def told(side: Side) -> tuple[int, str]:
    """Signal and message; before 2.36 an assertion's begins with the program's name."""
    return side.signal, side.message.removeprefix("player: ")


@pytest.mark.parametrize("case", CASES)
def test_equal_last_words(any_libc: str, case: str) -> None:
    library = find_libc(any_libc)
    if library.release in ENDLESS.get(case, ()):
        pytest.skip(f"glibc {any_libc} loops for ever here")
    script = CASES[case] if library.word == 8 else for_ilp32(case, CASES[case])
    host, twin, _ = play(any_libc, script, check_every=0)
    seen.setdefault(any_libc, set()).add(host.message)
    assert told(host) == told(twin)
    done = min(len(host.results), len(twin.results)) if host.signal else len(host.results)
    assert host.results[:done] == twin.results[:done]


def test_every_message_of_the_release_is_among_them(any_libc: str) -> None:
    """What glibc's source can print, but for what one thread at a time cannot bring about, the cases have brought about."""
    if len(seen.get(any_libc, ())) < 20:
        pytest.skip("the cases were not all run before this")
    assert MESSAGES[find_libc(any_libc).release] <= seen[any_libc]


def test_scripts_are_well_formed() -> None:
    for name, text in CASES.items():
        script = parse_script(text)
        assert len(script.operations), name
        assert Play.STOP not in script.operations["op"]
