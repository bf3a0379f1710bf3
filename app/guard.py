"""What stands before Gradio, which serves more than this page uses, and answers some of what it is sent with nothing.

Only what the page uses is let through, within limits of size and time; no address is asked that a visitor names; what
breaks Gradio is answered in words; and who still waits when the page ends is told so.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.limits import Limits

API = "gradio_api"
UPLOAD = f"/{API}/upload"
# By the first part of their path. Not among them, for example: monitoring, log-in, fetching for others (`proxy=`),
# recordings of video, which Gradio keeps where nobody deletes them.
SERVED = {"", "assets", "config", "favicon.ico", "manifest.json", "robots.txt", "static", "svelte", "theme.css", API}
SERVED_API = {
    *("app_id", "call", "cancel", "heartbeat", "info", "openapi.json", "queue", "reset", "run", "startup-events"),
    *("stream", "theme.css", "upload", "upload_progress"),
}
FILE = "file="
STREAMS = (f"/{API}/queue/data", f"/{API}/call/")
HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"}

NOT_SERVED = "This page does not serve that. Its API is described at /?view=api."
NOT_UNDERSTOOD = "The page could not make sense of this request. Its API is described at /?view=api."
NO_ADDRESS = "The page fetches no address. Upload the recording itself."
ENDING = "The page is being closed. Try again in some minutes."

logger = logging.getLogger(__name__)


def log_failure(what: str, error: BaseException) -> None:
    """One short line for the operator: what failed and where. Whoever forges requests is not to fill the terminal."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    logger.warning("%.200s: %.500s in %s, line %s", what, repr(error), place.filename, place.lineno)


class Ending:
    """How the page ends: nothing new begins, what runs may go on for a while, and then the rest is told.

    Requests are counted by the server's thread, and `begin`, `wait` and `tell` are called by another.
    """

    def __init__(self) -> None:
        self.begun = False
        self.told = asyncio.Event()
        self.waiting = 0
        self._nobody_waits = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    @contextlib.contextmanager
    def one_waits(self) -> Iterator[None]:
        """Somebody waits for an answer inside of ``with``."""
        self._loop = asyncio.get_running_loop()
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1
            if self.begun and not self.waiting:
                self._nobody_waits.set()

    def begin(self) -> None:
        """Refuse what is new from now on."""
        self.begun = True
        if not self.waiting:
            self._nobody_waits.set()

    def wait(self, seconds: float) -> bool:
        """Let the others get their answers; returns whether all have."""
        return self._nobody_waits.wait(seconds)

    def tell(self) -> None:
        """Tell those who still wait, and let them go."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.told.set)


class Guard:
    """ASGI middleware around Gradio's routes.

    Args:
        app: what it stands before.
        limits: of sizes and times.
        uploads: the folder that uploads lie in.
        ending: tells when the page ends.
    """

    def __init__(self, app: ASGIApp, limits: Limits, uploads: Path, ending: Ending) -> None:
        self.app, self.limits, self.uploads, self.ending = app, limits, uploads, ending

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        started = False

        async def send_on(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        try:
            refusal = await self._refusal(scope, path)
            if refusal is not None:
                await refusal(scope, receive, send_on)
            elif scope["method"] == "GET" and path.startswith(STREAMS):
                if not await self._stream(scope, receive, send_on):
                    await (self._told(path, send) if started else _words(503, ENDING, path)(scope, receive, send_on))
            else:
                await self.app(scope, self._limited(scope, path, receive), send_on)
        except ClientDisconnect:
            pass
        except Exception as error:  # of Gradio, on what it was not made for
            log_failure(f"{scope['method']} {path!r}", error)
            if started:
                await send({"type": "http.response.body", "body": b""})
            else:
                await _words(400, NOT_UNDERSTOOD, path)(scope, receive, send_on)

    async def _refusal(self, scope: Scope, path: str) -> Response | None:
        """What is answered at once, if anything."""
        if not is_served(path):
            return _words(404, NOT_SERVED, path)
        if _named_file(path).lower().startswith(("http:", "https:")):
            return _words(403, NO_ADDRESS, path)
        if scope["method"] != "POST":
            return None
        if self.ending.begun:
            return _words(503, ENDING, path)
        length = dict(scope["headers"]).get(b"content-length", b"")
        if length.isdigit() and int(length) > self._most_bytes(path):
            return _words(413, self._too_large(path), path)
        if path == UPLOAD and await asyncio.to_thread(_size, self.uploads) > 1e6 * self.limits.uploads_megabytes:
            return _words(503, "There are too many uploads here now. Try again in some minutes.", path)
        return None

    def _limited(self, scope: Scope, path: str, receive: Receive) -> Receive:
        """Receives a request's body as far as it is neither too large nor too slow."""
        deadline, size = time.monotonic() + self.limits.keep_seconds, 0
        ended = False

        async def receive_limited() -> Message:
            nonlocal size, ended
            if ended:  # what comes now is that the client has gone, for which an answer may wait
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), deadline - time.monotonic())
            except TimeoutError:
                raise HTTPException(408, f"This took longer than {self.limits.keep_seconds} s to arrive.") from None
            ended = not message.get("more_body", False)
            size += len(message.get("body", b""))
            if size > self._most_bytes(path):
                raise HTTPException(413, self._too_large(path))
            return message

        return receive_limited

    def _most_bytes(self, path: str) -> float:
        # With a tenth more for what surrounds the files. What is no upload names files, or returns rows of a batch.
        return 1.1e6 * self.limits.batch_megabytes if path == UPLOAD else self.limits.json_bytes

    def _too_large(self, path: str) -> str:
        if path == UPLOAD:
            return f"This upload is too large: at most {self.limits.batch_megabytes} MB are taken at once."
        return (
            f"This request is too large: at most {self.limits.json_bytes / 1e6:.0f} MB are taken. Upload files first."
        )

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """An answer that may take long; returns whether it came to its end, or the page's end came before."""

        async def send_until_told(message: Message) -> None:
            if not self.ending.told.is_set():  # on being cancelled, Gradio tells visitors of its tasks
                await send(message)

        with self.ending.one_waits():
            answer = asyncio.ensure_future(self.app(scope, receive, send_until_told))
            told = asyncio.ensure_future(self.ending.told.wait())
            try:
                await asyncio.wait({answer, told}, return_when=asyncio.FIRST_COMPLETED)
                if answer.done():
                    answer.result()
                    return True
            finally:
                told.cancel()
                answer.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await answer
            return False

    async def _told(self, path: str, send: Send) -> None:
        """The end of a stream of answers, in Gradio's two forms of it."""
        message = json.dumps(ENDING)
        if path.startswith(STREAMS[0]):
            said = f'data: {{"msg": "unexpected_error", "message": {message}, "success": false}}\n\n'
        else:
            said = f"event: error\ndata: {message}\n\n"
        await send({"type": "http.response.body", "body": said.encode()})


def is_served(path: str) -> bool:
    """Whether the page uses what lies at this path of its server."""
    first, _, rest = path.lstrip("/").partition("/")
    if first != API:
        return first in SERVED
    return rest.startswith(FILE) or rest.partition("/")[0] in SERVED_API


def _named_file(path: str) -> str:
    return path.removeprefix(f"/{API}/{FILE}")


def _size(folder: Path) -> int:
    """Bytes of all files below a folder, some of which may vanish meanwhile."""
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                size += os.stat(os.path.join(place, name)).st_size
    return size


def _words(status: int, words: str, path: str) -> Response:
    """A refusal in the form that Gradio's own have: of uploads as text, of the rest as JSON."""
    return PlainTextResponse(words, status) if path == UPLOAD else JSONResponse({"detail": words}, status)
