# SPDX-License-Identifier: LGPL-2.1-or-later
"""Real programs whose memory calls are replayed: from the plainest to those that allocate much."""

_IMPORTS = "import json, re, decimal, sqlite3, subprocess"
_GROW = """
x = [bytes(1 << k) for k in range(24)]
del x
y = bytearray(1 << 20)
for i in range(20, 26): y.extend(bytes(1 << i))
"""
_SQL = "create table t(a); insert into t values (zeroblob(10000000)); select length(a) from t"

PROGRAMS: list[list[str]] = [
    ["/bin/cat", "/etc/passwd"],
    ["/bin/ls", "-l", "/"],
    ["/bin/bash", "-c", "for i in 1 2 3; do x=$(echo $i); done"],
    ["/usr/bin/python3", "-S", "-c", "pass"],
    ["/usr/bin/python3", "-c", _IMPORTS + _GROW],
    ["/usr/bin/perl", "-e", 'my $x = "a" x 5000000; my @y = (1..300000);'],
    ["/usr/bin/sort", "/etc/services"],
    ["/usr/bin/sqlite3", ":memory:", _SQL],
    ["/usr/bin/git", "--version"],
    ["/usr/bin/awk", "BEGIN { for (i = 0; i < 100000; i++) a[i] = i }"],
    ["/usr/sbin/ldconfig", "-p"],
    ["/usr/bin/tar", "--version"],
]
