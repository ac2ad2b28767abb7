# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lab answers its own page and nobody else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from memtwin.lab.guard import COOKIE, Guard

TOKEN, PORT = "s3cret", 8123
GOOD = {"host": f"127.0.0.1:{PORT}"}


def ask(headers: dict[str, str], query: str = "", kind: str = "http") -> list[dict[str, Any]]:
    """What the guard sends for one request; the application behind it answers 200."""
    sent: list[dict[str, Any]] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(dict(message))

    scope = {"type": kind, "query_string": query.encode(),
             "headers": [(name.encode(), value.encode()) for name, value in headers.items()]}  # fmt: skip
    asyncio.run(Guard(application, TOKEN, PORT)(scope, receive, send))
    return sent


def test_the_address_with_the_token_opens_and_leaves_a_cookie() -> None:
    (start,) = ask(GOOD, f"token={TOKEN}")
    cookie = dict(start["headers"])[b"set-cookie"].decode()
    assert cookie.startswith(f"{COOKIE}={TOKEN};") and "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert ask({**GOOD, "cookie": f"{COOKIE}={TOKEN}"})[0]["status"] == 200
    assert ask({**GOOD, "cookie": f"{COOKIE}={TOKEN}", "origin": f"http://localhost:{PORT}"})[0]["status"] == 200


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        (GOOD, ""),
        (GOOD, "token=wrong"),
        ({**GOOD, "cookie": f"{COOKIE}=wrong"}, ""),
        ({**GOOD, "cookie": "=;;\0=\""}, ""),
        ({"host": f"evil.example:{PORT}"}, f"token={TOKEN}"),
        ({"host": "127.0.0.1:1"}, f"token={TOKEN}"),
        ({}, f"token={TOKEN}"),
        ({**GOOD, "origin": "http://evil.example"}, f"token={TOKEN}"),
        ({**GOOD, "origin": "null"}, f"token={TOKEN}"),
        ({**GOOD, "origin": f"https://127.0.0.1:{PORT}"}, f"token={TOKEN}"),
    ],
)  # fmt: skip
def test_everybody_else_is_refused_in_one_line(headers: dict[str, str], query: str) -> None:
    start, body = ask(headers, query)
    assert start["status"] == 403
    assert body["body"].count(b"\n") == 1 and TOKEN.encode() not in body["body"]
    assert ask(headers, query, "websocket")[-1]["type"] == "websocket.close"
