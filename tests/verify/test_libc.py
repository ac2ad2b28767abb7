# SPDX-License-Identifier: LGPL-2.1-or-later
"""The twin against the real C libraries: a slice of random calls for each release, with a fresh seed every time."""

import json
import random

import numpy as np
import pytest
from tests.verify.huge_pool import huge_pool, on_request

from memtwin.commands.verify_libc import format_report, nearest_library, run
from memtwin.host.libcs import available, find_libc, host_release
from memtwin.libc.release import VERIFIED
from memtwin.verify.disturbance import NO_HUGE_BLOCK
from memtwin.verify.libc import run as libc_run
from memtwin.verify.libc.compare import Difference, compare
from memtwin.verify.libc.run import verify
from memtwin.verify.libc.script import parse_script
from memtwin.verify.libc.twin import LibcTwin


@pytest.fixture(params=(*VERIFIED, "2.36-i386"))
def libc(request: pytest.FixtureRequest):
    if request.param not in available():
        pytest.skip(f"no C library {request.param}: make libcs")
    return find_libc(request.param)


def test_no_difference(libc):
    seed = f"{random.randrange(1 << 32):x}"
    report = verify(libc, seed, 6_000, LibcTwin)
    print(format_report(report))
    assert report.operations >= 6_000
    assert report.differences == []


@on_request
def test_no_difference_with_a_pool_of_huge_pages(libc):
    """hugetlb=2 and sizes with a real pool, which now and then is too small."""
    seed = f"{random.randrange(1 << 32):x}"
    with huge_pool(24):
        report = verify(libc, seed, 30_000, LibcTwin, ["huge"])
    print(format_report(report))
    assert report.operations >= 30_000
    assert report.differences == []


SCRIPTS = {
    "heaps of 4 GiB have length 0 in 32 bits": "environment GLIBC_TUNABLES=glibc.malloc.hugetlb=1073741824\n"
    "start thread 1\nthread 1: p79 = malloc(2512)\nstop\n",
    "perturb skips what comes through the cache": "environment GLIBC_TUNABLES=glibc.malloc.perturb=85\n"
    + "".join(f"p{i} = malloc(1500)\np99 = malloc(20)\n" for i in range(4))
    + "".join(f"free(p{i})\n" for i in range(4)) + "p5 = malloc(1500)\nstop\n",
    "calloc after the top was given back": "p0 = malloc(600000)\nfree(p0)\nmalloc_trim(0)\np1 = calloc(940, 32)\nstop\n",
    "a thread's table of its own blocks": "start thread 1\nthread 1: p0 = malloc(100)\nthread 1: exit thread\nstop\n",
    "memalign's tail": "p0 = memalign(8192, 238790)\np1 = calloc(25409, 33)\nfree(p0)\nfree(p1)\nstop\n",
    "realloc reads what nothing was written to: the huge zero page": "environment GLIBC_TUNABLES=glibc.malloc.hugetlb=1\n"
    "p0 = malloc(8859143)\nfree(p0)\nposix_memalign(p1, 512, 6848025)\np1 = realloc(p1, 6848076)\nstop\n",
    "mremap counts": "p0 = malloc(500000)\np0 = realloc(p0, 900000)\np0 = realloc(p0, 1900000)\nmallinfo2()\nstop\n",
    "perturb by 256 writes bytes of 255 and 0": "mallopt(-6, 256)\np0 = malloc(22462)\nfree(p0)\nstop\np0 = malloc(22462)\nstop\n",
}  # fmt: skip


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_that_once_differed(libc, name):
    script = parse_script(SCRIPTS[name])
    assert compare(libc, script.operations, script.slots, script.environment, LibcTwin) is None


def test_a_wrong_release_is_noticed(tmp_path, capsys):
    """The comparison of 2.41's library with a twin of 2.36 must fail."""
    if "2.41" not in available():
        pytest.skip("no C library 2.41: make libcs")

    def of_another_release(player, environment):
        twin = LibcTwin(player, environment)
        other = type(twin.malloc)(twin.space, "2.36", main_arena=player.main_arena(), mp=player.mp())
        twin._performer.malloc = other
        return twin

    report = verify(find_libc("2.41"), "negative control", 2000, of_another_release, ["tiny"], most_differences=1)
    assert len(report.differences) == 1


def test_the_command(capsys):
    assert run("2.36", "abc", 1000, None, False, True) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["operations"] >= 1000 and report["differences"] == []


def test_nearest_is_this_machines_or_close(capsys):
    if nearest_library() not in available():
        pytest.skip("no C library near this machine's: make libcs")
    assert run("nearest", "abc", 500, None, False, True) == 0
    told = capsys.readouterr()
    assert f"this machine has glibc {host_release()}: " in told.err
    assert json.loads(told.out)["libc"] in VERIFIED


def test_jobs_share_the_operations(capsys):
    if "2.36" not in available():
        pytest.skip("no C library 2.36: make libcs")
    assert run("2.36", "abc", 2000, None, False, True, 2) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["operations"] >= 2000 and report["seed"] == "abc" and report["differences"] == []


def test_an_unknown_library_is_a_user_error():
    from memtwin.errors import UserError

    with pytest.raises(UserError, match=r"no libc is known as 9\.9"):
        run("9.9", "", 1000, None, False, False)


@pytest.mark.parametrize(("grown", "again", "counts"), [((), True, 1), (("khugepaged",), False, 0),
                                                        (("khugepaged",), True, 1), ((NO_HUGE_BLOCK,), True, 0)])  # fmt: skip
def test_pages_that_the_kernel_moved_are_looked_at_again(monkeypatch, grown, again, counts):
    """A page in RAM on one side alone: the twin's fault, unless the kernel was at work and it does not show again."""
    places = iter((7, 7, 7) if again else (7, 8, 9))
    monkeypatch.setattr(
        libc_run, "compare", lambda *given: Difference(next(places), "stop", "page 0x1000", "in RAM", "not in RAM")
    )
    monkeypatch.setattr(libc_run, "causes_since", lambda before: grown)
    report = libc_run.Report("2.36", "seed")
    found = libc_run.settled(find_libc("2.36"), np.zeros(0), 1, {}, LibcTwin, report)
    assert (found is not None) == bool(counts)
    assert sum(report.disturbed.values()) == (0 if not grown else 3 if not counts else 1)
