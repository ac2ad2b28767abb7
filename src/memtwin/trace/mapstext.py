# SPDX-License-Identifier: LGPL-2.1-or-later
"""The text of /proc/PID/maps as rows of schema MAPS.

Snapshots follow each other with nearly the same lines, so each different line is taken apart once.
"""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa

from memtwin.trace.decode import Snapshot
from memtwin.trace.schema import MAPS

# "00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/dbus-daemon", proc(5)
_LINE = re.compile(
    rb"(?:(?P<rss>\d{1,15}) )?(?P<start>[0-9a-f]{1,16})-(?P<end>[0-9a-f]{1,16}) (?P<permissions>[-rwxsp]{4}) "
    rb"(?P<offset>[0-9a-f]{1,16}) (?P<device>[0-9a-f]{1,8}:[0-9a-f]{1,8}) (?P<inode>\d{1,20}) *(?P<path>[^\n]*)"
)
_MOST_LINES = 1 << 16  # kept at a time

_Row = tuple[int, int, str, int, str, int, str, int | None]


class MapsTable:
    """Makes record batches of snapshots. `bad_lines` counts what was no line of such a file, and is left out."""

    def __init__(self) -> None:
        self.bad_lines = 0
        self._known: dict[bytes, int] = {}
        self._rows: list[_Row] = []

    def batch(self, snapshot: Snapshot) -> pa.RecordBatch:
        """The rows of one snapshot."""
        if len(self._known) > _MOST_LINES:
            self._known, self._rows = {}, []
        known = self._known
        indices = [known[line] if line in known else self._learn(line) for line in snapshot.text.split(b"\n") if line]
        rows = [self._rows[index] for index in indices if index >= 0]
        self.bad_lines += len(indices) - len(rows)
        columns = list(zip(*rows, strict=True)) if rows else [()] * 8
        ahead = [np.full(len(rows), value, np.uint64) for value in (snapshot.event, snapshot.time_ns)]
        arrays = [pa.array(np.full(len(rows), snapshot.number, np.uint32)), *map(pa.array, ahead)]
        arrays += [pa.array(column, field.type) for column, field in zip(columns, list(MAPS)[3:], strict=True)]
        return pa.record_batch(arrays, schema=MAPS)

    def _learn(self, line: bytes) -> int:
        """The place of this line's row, or -1 when it is none."""
        match = _LINE.fullmatch(line)
        if match is None or int(match["inode"]) >= 1 << 64:
            self._known[line] = -1
            return -1
        rss, start, end, permissions, offset, device, inode, path = match.groups()
        text = path.decode("utf-8", "backslashreplace")
        numbers = int(start, 16), int(end, 16), permissions.decode(), int(offset, 16), device.decode(), int(inode)
        self._rows.append((*numbers, text, None if rss is None else int(rss) * 1024))
        self._known[line] = len(self._rows) - 1
        return len(self._rows) - 1
