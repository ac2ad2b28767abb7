# SPDX-License-Identifier: LGPL-2.1-or-later
"""The host in the twin's place: what a comparison of the host with itself cannot hold equal, none can."""

from __future__ import annotations

from memtwin.verify.host import Host, Start
from memtwin.verify.observation import Observation
from memtwin.verify.operations import Operation, Outcome


class Repeat:
    """Plays on the same host before the comparison plays there again."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def restart(self, start: Start) -> None:
        """The host is freshly started already."""

    def play(self, operation: Operation) -> Outcome:
        """Perform it on the host."""
        return self._host.play([operation])[0]

    def observe(self) -> Observation:
        """What the host shows."""
        return self._host.observe()

    def validate(self) -> None:
        """Nothing of ours to check."""

    def finish(self) -> None:
        """Called before the comparison: the host begins anew."""
        self._host.restart()
