# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may talk to the lab: a browser on this machine that was given the address with its token.

Every request, web socket ones included, must name a loopback host (a page elsewhere that resolves its own name to
127.0.0.1 does not), must come from no other origin, and must carry the token: in the address the first time, in a
cookie from then on.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "memtwin_lab"


class Guard:
    """ASGI middleware around `application` for a lab on `port` with `token`."""

    def __init__(self, application: Application, token: str, port: int) -> None:
        self.application = application
        self.token = token
        self.hosts = {f"{host}:{port}" for host in ("127.0.0.1", "localhost", "[::1]")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.application(scope, receive, send)
            return
        refusal = self.refusal(scope)
        if refusal:
            await _refuse(scope, receive, send, refusal)
        elif self._in_query(scope):
            await self.application(scope, receive, self._with_cookie(send))
        else:
            await self.application(scope, receive, send)

    def refusal(self, scope: Scope) -> str:
        """Why this request is not answered, in one line; "" when it is."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if headers.get("host", "") not in self.hosts:
            return "memtwin lab: this host name is not the lab's"
        origin = headers.get("origin")
        if origin is not None and origin not in {f"http://{host}" for host in self.hosts}:
            return "memtwin lab: requests from other pages are refused"
        if not (self._in_query(scope) or self._in_cookie(headers.get("cookie", ""))):
            return "memtwin lab: open the address that `memtwin lab` printed, with its token"
        return ""

    def _in_query(self, scope: Scope) -> bool:
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
        return hmac.compare_digest(given.encode(), self.token.encode())

    def _in_cookie(self, text: str) -> bool:
        try:
            morsel = SimpleCookie(text).get(COOKIE)
        except CookieError:
            return False
        return morsel is not None and hmac.compare_digest(morsel.value.encode(), self.token.encode())

    def _with_cookie(self, send: Send) -> Send:
        cookie = f"{COOKIE}={self.token}; Path=/; HttpOnly; SameSite=Strict".encode()

        async def sender(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (b"set-cookie", cookie)]
            await send(message)

        return sender


async def _refuse(scope: Scope, receive: Receive, send: Send, line: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": line})
        return
    body = line.encode() + b"\n"
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})
