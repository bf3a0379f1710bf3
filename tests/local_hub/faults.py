"""What can go wrong with a Hub, on purpose: refusals, broken connections, uploads that stand still."""

from __future__ import annotations

import asyncio
import re
import threading

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope, Send

STEP_SECONDS = 0.02


class Faults:
    """The faults of a server, all of them off until they are asked for.

    Attributes:
        upload_started: set as soon as a client sends a large file, or a part of one.
    """

    def __init__(self) -> None:
        self.upload_started = threading.Event()
        self.mend()

    def mend(self) -> None:
        """Let everything work again; uploads that were held go on."""
        self.break_after: int | None = None
        self.holding = False
        self.refusals: list[tuple[re.Pattern[str], int]] = []

    def refusal(self, path: str) -> int | None:
        """The status with which a request is refused, or None."""
        return next((status for pattern, status in self.refusals if pattern.search(path)), None)

    async def before_upload(self) -> None:
        """Stand still while uploads are held."""
        self.upload_started.set()
        while self.holding:
            await asyncio.sleep(STEP_SECONDS)

    def during_upload(self, request: Request, received: int) -> None:
        """Break the connection after so many bytes."""
        if self.break_after is not None and received >= self.break_after:
            request.scope["abort"]()
            raise ClientDisconnect


async def refuse(status: int, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request with nothing but a status, after its body was read, so that the client sees the answer."""
    message: Message = {"more_body": True}
    while message.get("more_body"):
        message = await receive()
    body = b'{"error": "refused on purpose"}'
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
