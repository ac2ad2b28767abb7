# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lab's server: on the loopback interface alone, behind the guard, with a token that is new at each start."""

from __future__ import annotations

import gc
import secrets
import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI
from nicegui import ui

from memtwin.errors import UserError
from memtwin.lab.guard import Guard
from memtwin.lab.page import install

MAX_MESSAGE_BYTES = 1 << 20  # of one web socket message from a page


def serve(port: int, lesson: str, language: str, source: str, ready: Callable[[str], None]) -> None:
    """Serve the lab until it is interrupted. port: 0 for any that is free; ready: is told the address with its token.

    UserError: the port is taken.
    """
    try:
        listening = socket.create_server(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        raise UserError(f"port {port} cannot be had: {error}; leave --port out to take any that is free") from None
    token = secrets.token_urlsafe(24)
    port = listening.getsockname()[1]
    application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    install(lesson, language, source)
    ui.run_with(application, title="memtwin lab", dark=None, show_welcome_message=False, reconnect_timeout=10)
    config = uvicorn.Config(
        Guard(application, token, port), log_level="warning", ws_max_size=MAX_MESSAGE_BYTES, server_header=False
    )
    gc.collect()
    gc.freeze()  # what was imported stays: looking through it all, now and then, would take 50 ms of somebody's step
    ready(f"http://127.0.0.1:{port}/?token={token}")
    uvicorn.Server(config).run(sockets=[listening])
