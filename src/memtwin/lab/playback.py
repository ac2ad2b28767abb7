# SPDX-License-Identifier: LGPL-2.1-or-later
"""The page's hold on a worker: load a script, show a step, explain a thing, each within a time that is bounded."""

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

SECONDS_TO_LOAD = 20.0  # the whole script is played once
SECONDS_TO_STEP = 5.0
MAX_ANSWER_BYTES = 16 << 20


class Playback:
    """A script being played in processes of its own; they end with `close`, or with this process."""

    def __init__(self) -> None:
        self._line: socket.socket | None = None
        self._worker: subprocess.Popen[bytes] | None = None

    def load(self, source: str, machine: dict[str, Any] | None = None) -> dict[str, Any]:
        """Play `source` to its end; {"steps": count, "error": None or a line}. UserError when it is no script."""
        self.close()
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "memtwin.lab.worker", str(theirs.fileno())]
            self._worker = subprocess.Popen(command, pass_fds=[theirs.fileno()], start_new_session=True,
                                            stdin=subprocess.DEVNULL)  # fmt: skip
        self._line = ours
        return self._ask({"load": source, "machine": machine or {}}, SECONDS_TO_LOAD)

    def step(self, number: int) -> dict[str, Any]:
        """The scene after `number` calls."""
        return self._ask({"step": number}, SECONDS_TO_STEP)

    def explain(self, key: str) -> str:
        """What is to be said of a thing in a picture, by its key."""
        return str(self._ask({"explain": key}, SECONDS_TO_STEP)["explanation"])

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
        assert self._line is not None
        data = bytearray()
        while not data.endswith(b"\n"):
            piece = self._line.recv(1 << 18)
            if not piece or len(data) > MAX_ANSWER_BYTES:
                raise OSError("no answer")
            data += piece
        found: dict[str, Any] = json.loads(data)
        return found

    def close(self) -> None:
        """End the processes."""
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
