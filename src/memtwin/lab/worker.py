# SPDX-License-Identifier: LGPL-2.1-or-later
"""Plays a script for a page, forward and back, in processes of its own.

Going back needs the twin as it was. The host's own copy-on-write keeps it: while the script is played for the first
time, a copy of the process goes to sleep every INTERVAL steps. A step is shown by a copy of the last sleeper before it,
which plays on from there; the sleepers themselves never play.

    player ──fork──▶ sleeper 0
           ──fork──▶ sleeper 250 ──fork──▶ player of step 300, while the page stays near
           ──fork──▶ sleeper 500
           …

A player that came a long way leaves a sleeper NEAR steps before its end, so that the next steps back are short.

Each process has a socket of its own to the page's Playback, which sends JSON lines and hears JSON lines; a process
whose socket is closed ends.

    to the first player   {"load": script, "machine": {...}}
                          -> {"checkpoint": position}, with the sleeper's socket, for each sleeper; players do so too
                          -> {"steps": how many calls, "error": None or one line}
    to a sleeper          {"wake": true}, with the new player's socket
    to a player           {"step": n}      -> the scene after n calls (lab.scene.Scene.show), n not behind it
                          {"explain": key} -> {"explanation": text}; both with the "language" of what is said
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

from memtwin import script
from memtwin.errors import UserError
from memtwin.lab.scene import Scene

INTERVAL = 250  # steps between sleepers
NEAR = 25  # steps before one that took a long way, where another sleeper stays
MOST_SLEEPERS = 400
CPU_SECONDS = 300  # of one process


class Player:
    """A script as far as it was played."""

    def __init__(self, source: str, machine: dict[str, Any]) -> None:
        parsed = script.parse(source)
        self.scene = Scene(machine, parsed.environment)
        self.steps: Iterator[script.Step] = parsed.run(self.scene.process)
        self.position = 0
        self.error: str | None = None

    def forward(self, step: int, leave: Callable[[], None] = lambda: None) -> bool:
        """Play until `step` calls were made; False when the script ends before.

        leave: leaves a sleeper, when the way was long, a little before the step: who goes back one goes back two.
        """
        near = step - NEAR if step - self.position > 2 * NEAR else -1
        while self.position < step:
            if self.position == near:
                leave()
            if self.position == step - 1:
                self.scene.remember()
            if not self.one():
                return False
        return True

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

    def answer(self, line: socket.socket, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a page's request, which came through `line`."""
        language = str(request.get("language", "en"))
        if "step" in request:
            self.forward(int(request["step"]), lambda: leave_sleeper(line, self))
            return self.scene.show(self.position, language)
        return {"explanation": self.scene.explain(str(request.get("explain", "")), language)}


def load(line: socket.socket, source: str, machine: dict[str, Any]) -> Player:
    """Play a script once to its end, leaving sleepers on the way; the page is told of each.

    The garbage collector is off: in a copy it would touch, and so copy, everything that the sleepers share.
    """
    gc.disable()
    player = Player(source, machine)
    sleepers = 0
    while True:
        if player.position == sleepers * INTERVAL and sleepers < MOST_SLEEPERS:
            leave_sleeper(line, player)
            sleepers += 1
        if not player.one():
            return player


def leave_sleeper(line: socket.socket, player: Player) -> None:
    """Leave a copy of this process asleep; it ends when the page has closed its socket."""
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        line.close()
        ours.close()
        sleep(theirs, player)
        os._exit(0)
    theirs.close()
    socket.send_fds(line, [_line({"checkpoint": player.position})], [ours.fileno()])
    ours.close()


def sleep(bell: socket.socket, player: Player) -> None:
    """Wait to be woken: each time a copy goes to play, with the socket that came along."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(bell, 64, 1)
        if not message:
            return
        with socket.socket(fileno=descriptors[0]) as line:
            if os.fork() == 0:
                bell.close()
                serve(line, player)
                os._exit(0)


def serve(line: socket.socket, player: Player) -> None:
    """Answer requests until the page is gone; a mistake in one is answered with its line."""
    for request in requests(line):
        try:
            reply = player.answer(line, request)
        except UserError as error:
            reply = {"error": str(error)}
        line.sendall(_line(reply))


def requests(line: socket.socket) -> Iterator[dict[str, Any]]:
    """The page's requests, one at a time."""
    while True:
        data = b""
        while not data.endswith(b"\n"):
            piece = line.recv(1 << 16)
            if not piece:
                return
            data += piece
        yield json.loads(data)


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def main() -> None:
    """Entry of the first process: the socket's descriptor is the one argument."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    line = socket.socket(fileno=int(sys.argv[1]))
    request = next(requests(line), None)
    if request is None:
        return
    try:
        player = load(line, request["load"], request.get("machine", {}))
    except UserError as error:
        line.sendall(_line({"error": str(error)}))
        return
    line.sendall(_line({"steps": player.position, "error": player.error}))
    serve(line, player)


if __name__ == "__main__":
    main()
