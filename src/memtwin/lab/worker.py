# SPDX-License-Identifier: LGPL-2.1-or-later
"""Plays a script for a page, forward and back, in processes of its own.

Going back needs the twin as it was. The host's own copy-on-write keeps it: every INTERVAL steps the player forks, and
the copy sleeps as a checkpoint. To go back, the player wakes the last checkpoint before the wanted step and ends; the
checkpoint leaves a new sleeper in its place and plays forward to the step, which is at most INTERVAL steps away.

    player ──fork──▶ checkpoint 0   (asleep on its bell, a socket)
           ──fork──▶ checkpoint 1000
           …                           rings: wake at step n, be the player

A sleeper hears its bell's other end close when nobody is left who could ring it, and ends. Requests and answers are
JSON lines on one socket, whichever process plays at the moment:

    {"load": script, "machine": {...}}   ->  {"steps": how many calls, "error": None or one line}
    {"step": n}                          ->  the scene after n calls (lab.scene.Scene.show)
    {"explain": key}                     ->  {"explanation": text}
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from memtwin import script
from memtwin.errors import UserError
from memtwin.lab.scene import Scene

INTERVAL = 1000  # steps between checkpoints
MAX_CHECKPOINTS = 250  # of MAX_STEPS / INTERVAL at the most


@dataclass
class Checkpoint:
    """A sleeping copy: the number of steps it has played, and the bell that wakes it."""

    position: int
    bell: socket.socket


class Player:
    """The process that plays: a scene, how far it has come, and the checkpoints behind it."""

    def __init__(self, line: socket.socket) -> None:
        self.line = line
        self.position = 0
        self.error: str | None = None
        self.checkpoints: list[Checkpoint] = []

    def load(self, source: str, machine: dict[str, Any]) -> dict[str, Any]:
        """Begin a script and play it to its end once; answers how many steps it has and where it went wrong."""
        parsed = script.parse(source)
        self.scene = Scene(machine)
        self.steps: Iterator[script.Step] = parsed.run(self.scene.process)
        self.checkpoints.clear()
        self.position, self.error = 0, None
        self.sleep_here()
        self.forward(script.MAX_STEPS)
        return {"steps": self.position, "error": self.error}

    def go(self, step: int) -> dict[str, Any]:
        """The scene after `step` calls; never returns where an older copy must play on instead."""
        if step < self.position:
            self.hand_over(step)
        self.forward(step)
        return self.scene.show(self.position)

    def forward(self, step: int) -> None:
        """Play until `step` calls were made or the script is at its end."""
        while self.position < step:
            if self.position % INTERVAL == 0 and self.position > self.checkpoints[-1].position:
                self.sleep_here()
            if self.position == step - 1:
                self.scene.remember()
            if not self.one():
                return

    def one(self) -> bool:
        """Make the next call; False at the end of the script."""
        try:
            made = next(self.steps, None)
        except UserError as error:
            self.error = str(error)
            return False
        if made is None:
            return False
        self.position += 1
        self.scene.made(made)
        return True

    # Sleeping and waking.

    def sleep_here(self) -> None:
        """Leave a copy of this process asleep at this position. It returns from here when it is woken."""
        if len(self.checkpoints) >= MAX_CHECKPOINTS:
            return
        ours, theirs = socket.socketpair()
        if os.fork() == 0:
            ours.close()
            wanted = self.sleep(theirs)
            self.sleep_here()
            answer(self.line, lambda: self.go(wanted))
            serve(self)
            os._exit(0)
        theirs.close()
        self.checkpoints.append(Checkpoint(self.position, ours))

    def sleep(self, bell: socket.socket) -> int:
        """Wait for the bell; the step that is wanted. Ends the process when nobody can ring any more."""
        message = bell.recv(64)
        bell.close()
        if not message:
            os._exit(0)
        return int(message)

    def hand_over(self, step: int) -> None:
        """Wake the last checkpoint at or before `step` and end."""
        chosen = max((one for one in self.checkpoints if one.position <= step), key=lambda one: one.position)
        chosen.bell.send(str(step).encode())
        os._exit(0)


def answer(line: socket.socket, make: Any) -> None:
    """Send what `make` returns, or its error, as one JSON line."""
    try:
        reply = make()
    except UserError as error:
        reply = {"error": str(error)}
    line.sendall(json.dumps(reply).encode() + b"\n")


def serve(player: Player) -> None:
    """Answer requests until the page is gone."""
    for request in requests(player.line):
        answer(player.line, partial(perform, player, request))


def perform(player: Player, request: dict[str, Any]) -> dict[str, Any]:
    """Do what one request asks for; UserError when it is none."""
    if "load" in request:
        return player.load(request["load"], request.get("machine", {}))
    if "step" in request:
        return player.go(int(request["step"]))
    if "explain" in request:
        return {"explanation": player.scene.explain(str(request["explain"]))}
    raise UserError("no such request")


def requests(line: socket.socket) -> Iterator[dict[str, Any]]:
    """The page's requests. One is under way at a time, so that nothing is left in a buffer when another plays on."""
    while True:
        data = b""
        while not data.endswith(b"\n"):
            piece = line.recv(1 << 16)
            if not piece:
                return
            data += piece
        yield json.loads(data)


def main() -> None:
    """Entry of the process: the socket's descriptor is the one argument."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve(Player(socket.socket(fileno=int(sys.argv[1]))))


if __name__ == "__main__":
    main()
