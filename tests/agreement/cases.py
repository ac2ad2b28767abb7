# SPDX-License-Identifier: LGPL-2.1-or-later
"""The programs that are recorded and replayed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.agreement.inputs import (
    PROGRAMS,
    Inputs,
    c_source,
    compiled,
    cpp_source,
    json_file,
    repository,
    shell_script,
    text_lines,
)

PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
SPARSE = "buffers that the program does not fill"
FILLED = "blocks from calloc that the program fills itself, which no trace tells"
OWN_COLLECTOR = "the compiler's collector maps its own memory; the small malloc heap has " + SPARSE
MALLOC = {"PYTHONMALLOC": "malloc"}
Command = Callable[[Inputs], list[str]]

SQL = """create table t (a integer primary key, b text, c integer);
with recursive n(i) as (select 1 union all select i + 1 from n where i < {rows})
    insert into t select i, 'row ' || i, i % 97 from n;
create index x on t (c, b);
select count(*), sum(c) from t;
select c, count(*), max(b) from t group by c order by 2 limit 5;
delete from t where a % 3 = 0;
select count(*) from t;"""

PERL = """my %h;
for my $i (1..$ARGV[0]) { $h{$i % 5003} .= chr(65 + $i % 26); }
my @s = sort map { "$_=$h{$_}" } keys %h;
print scalar(@s);"""

JQ = "map(select(.id % 3 == 0)) | group_by(.tags[0]) | map(length)"


@dataclass(frozen=True)
class Case:
    """A program to record. `sparse`: why its resident heap may be off; None when it must not be."""

    name: str
    command: Command
    needs: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    sparse: str | None = None
    threaded: bool = False


def ls(inputs: Inputs) -> list[str]:
    return ["ls", "-lR", "/usr/share" if inputs.scale >= 1 else "/usr/share/perl"]


def python(documents: int, *threads: str) -> Command:
    return lambda inputs: [PYTHON, str(PROGRAMS / "work.py"), str(inputs.count(documents)), *threads]


def git_log(inputs: Inputs) -> list[str]:
    path = inputs.file("log", lambda path: repository(path, inputs.count(1500)))
    return ["git", "-C", str(path), "--no-pager", "log", "-p"]


def git_repack(inputs: Inputs) -> list[str]:
    """In a repository that has not been packed since it was made."""
    path = inputs.place / f"repack{time.monotonic_ns()}"
    repository(path, inputs.count(300))
    return ["git", "-C", str(path), "-c", "pack.threads=4", "repack", "-adfq"]


def sqlite(inputs: Inputs) -> list[str]:
    return ["sqlite3", ":memory:", SQL.format(rows=inputs.count(200_000))]


def gcc(inputs: Inputs) -> list[str]:
    source = inputs.file("c.c", lambda path: c_source(path, inputs.count(600)))
    return ["gcc", "-O2", "-c", "-o", "/dev/null", str(source)]


def gplusplus(inputs: Inputs) -> list[str]:
    source = inputs.file("cpp.cc", lambda path: cpp_source(path, inputs.count(40)))
    return ["g++", "-O2", "-c", "-o", "/dev/null", str(source)]


def perl(inputs: Inputs) -> list[str]:
    return ["perl", "-e", PERL, str(inputs.count(2_000_000))]


def bash(inputs: Inputs) -> list[str]:
    return ["bash", str(inputs.file("script.sh", lambda path: shell_script(path, inputs.count(100_000))))]


def jq(inputs: Inputs) -> list[str]:
    return ["jq", "-c", JQ, str(inputs.file("records.json", lambda path: json_file(path, inputs.count(150_000))))]


def on_lines(*command: str) -> Command:
    """A command with a file of words behind it."""
    return lambda inputs: [*command, str(inputs.file("lines", lambda path: text_lines(path, inputs.count(200_000))))]


def threads(mode: str, count: int, rounds: int) -> Command:
    """tests/programs/threads.c."""
    return lambda inputs: [str(inputs.file("threads", compiled)), mode, str(count), str(inputs.count(rounds))]


CASES = (
    Case("ls -lR", ls, ("ls",)),
    Case("python3 json/re/xml", python(40_000)),
    Case("python3, PYTHONMALLOC=malloc", python(40_000), environment=MALLOC),
    Case("git log -p", git_log, ("git",)),
    Case("sqlite3, inserts", sqlite, ("sqlite3",)),
    Case("gcc -O2", gcc, ("gcc",), sparse=OWN_COLLECTOR),
    Case("g++ -O2", gplusplus, ("g++",), sparse=OWN_COLLECTOR),
    Case("perl", perl, ("perl",)),
    Case("bash, fork children", bash, ("bash",)),
    Case("jq", jq, ("jq",)),
    Case("sort", on_lines("sort"), ("sort",)),
    Case("python3, 18 threads", python(3_000, "18"), environment=MALLOC, threaded=True),
    Case("git repack", git_repack, ("git",), threaded=True, sparse=SPARSE),
    Case("zstd -T4", on_lines("zstd", "-T4", "-qfo", "/dev/null"), ("zstd",), threaded=True, sparse=SPARSE),
    Case("xz -T4", on_lines("xz", "-T4", "-1kc", "--block-size=1MiB"), ("xz",), threaded=True),
    Case("56 short threads", threads("churn", 56, 8_000), ("cc",), threaded=True, sparse=FILLED),
    Case("8 threads, each other's blocks", threads("handover", 8, 60_000), ("cc",), threaded=True, sparse=FILLED),
    Case("24 threads, more than arenas", threads("crowd", 24, 20_000), ("cc",), threaded=True, sparse=FILLED),
    Case("12 detached threads", threads("detached", 12, 20_000), ("cc",), threaded=True, sparse=FILLED),
    Case("a fork among threads", threads("fork", 6, 20_000), ("cc",), threaded=True, sparse=FILLED),
)
