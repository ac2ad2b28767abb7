# SPDX-License-Identifier: LGPL-2.1-or-later
"""The page's hold on a script that is played: load it, show a step, explain a thing, each within a bounded time.

The playing itself is done by processes of their own (lab/worker.py): one that plays where the page is, and sleepers
that keep earlier states. All end with `close`, or with this process.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from typing import Any, Self

from memtwin.errors import UserError
from memtwin.lab.worker import INTERVAL

SECONDS_TO_LOAD = 30.0  # the whole script is played once
SECONDS_TO_STEP = 5.0
MAX_ANSWER_BYTES = 16 << 20
MOST_LEFT = 32  # sleepers that players left


class Playback:
    """No script yet. position: the step that the player stands at; it can only go forward."""

    def __init__(self) -> None:
        self._line: socket.socket | None = None
        self._worker: subprocess.Popen[bytes] | None = None
        self._sleepers: dict[int, socket.socket] = {}  # by the step they sleep at
        self.position = 0

    def load(self, source: str, machine: dict[str, Any] | None = None) -> dict[str, Any]:
        """Play `source` to its end; {"steps": count, "error": None or a line}. UserError when it is no script."""
        self.close()
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "memtwin.lab.worker", str(theirs.fileno())]
            self._worker = subprocess.Popen(command, pass_fds=[theirs.fileno()], start_new_session=True,
                                            stdin=subprocess.DEVNULL)  # fmt: skip
        self._line = ours
        loaded = self._ask({"load": source, "machine": machine or {}}, SECONDS_TO_LOAD)
        self.position = loaded["steps"]
        return loaded

    def step(self, number: int, language: str = "en") -> dict[str, Any]:
        """The scene after `number` calls. language: "en" or "ko", of what is written in it."""
        start = max((at for at in self._sleepers if at < max(number, 1)), default=None)
        if start is not None and (number <= self.position or start > self.position):
            self._wake(start)
        shown = self._ask({"step": number, "language": language}, SECONDS_TO_STEP)
        self.position = shown["position"]
        return shown

    def explain(self, key: str, language: str = "en") -> str:
        """What is to be said of a thing in a picture, by its key."""
        return str(self._ask({"explain": key, "language": language}, SECONDS_TO_STEP)["explanation"])

    def _wake(self, start: int) -> None:
        """A copy of the sleeper at `start` is the player now; the one before ends."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._sleepers[start], [b"wake"], [theirs.fileno()])
            except OSError:
                ours.close()
                raise UserError("the player has ended: load the script again") from None
        if self._line is not None:
            self._line.close()
        self._line, self.position = ours, start

    def _ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        if self._line is None:
            raise UserError("no script is loaded")
        self._line.settimeout(seconds)
        try:
            self._line.sendall(json.dumps(request).encode() + b"\n")
            reply = self._heard()
        except TimeoutError:
            self.close()
            raise UserError(f"this takes more than {seconds:g} seconds: it was stopped") from None
        except OSError:
            self.close()
            raise UserError("the player has ended: load the script again") from None
        if reply.keys() == {"error"}:
            raise UserError(reply["error"])
        return reply

    def _heard(self) -> dict[str, Any]:
        """The answer; sleepers that are told of before it are kept."""
        assert self._line is not None
        data = bytearray()
        while True:
            piece, descriptors, _, _ = socket.recv_fds(self._line, 1 << 18, 64)
            if not piece or len(data) > MAX_ANSWER_BYTES:
                raise OSError("no answer")
            data += piece
            arrived = [socket.socket(fileno=descriptor) for descriptor in descriptors]
            while b"\n" in data:
                line, _, rest = bytes(data).partition(b"\n")
                data = bytearray(rest)
                found: dict[str, Any] = json.loads(line)
                if "checkpoint" not in found:
                    return found
                self._keep(found["checkpoint"], arrived.pop(0))

    def _keep(self, position: int, sleeper: socket.socket) -> None:
        """One more sleeper; of those that players left, the oldest goes when there are too many."""
        known = self._sleepers.pop(position, None)
        if known is not None:
            known.close()
        self._sleepers[position] = sleeper
        left = [at for at in self._sleepers if at % INTERVAL]
        if len(left) > MOST_LEFT:
            self._sleepers.pop(left[0]).close()

    def close(self) -> None:
        """End the processes."""
        for sleeper in self._sleepers.values():
            sleeper.close()
        self._sleepers.clear()
        if self._line is not None:
            self._line.close()
            self._line = None
        if self._worker is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._worker.pid, signal.SIGKILL)
            self._worker.wait()
            self._worker = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
