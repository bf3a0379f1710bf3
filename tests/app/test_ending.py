"""How those who wait are told that the page ends, without Gradio."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import pytest

from app.guard import ENDING, Ending, Guard
from app.limits import Limits

CALL, QUEUE = "/gradio_api/call/analyze/1", "/gradio_api/queue/data"


class Visitor:
    """One request to a guard, and what is sent to it."""

    def __init__(self, guard: Guard, path: str, method: str = "GET") -> None:
        self.sent: list[dict] = []
        scope = {"type": "http", "method": method, "path": path, "headers": []}
        self.task = asyncio.ensure_future(guard(scope, self._receive, self._send))

    async def _receive(self) -> dict:
        return {"type": "http.request", "body": b""}

    async def _send(self, message: dict) -> None:
        self.sent.append(message)

    async def read(self) -> tuple[int, str]:
        """Status and body of the whole answer."""
        await self.task
        assert not self.sent[-1].get("more_body", False)
        return self.sent[0]["status"], b"".join(message.get("body", b"") for message in self.sent).decode()


class Page:
    """Answers when it is let; before that it has begun, or not even that."""

    def __init__(self, begins: bool = True) -> None:
        self.begins, self.let, self.ending = begins, asyncio.Event(), Ending()
        self.guard = Guard(self.answer, Limits(), Path(), self.ending)

    async def answer(self, scope, receive, send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": []}
        if self.begins:
            await send(start)
        try:
            await self.let.wait()
        except asyncio.CancelledError:
            await send({"type": "http.response.body", "body": b"Cancelled by <Task>", "more_body": True})  # as Gradio
            raise
        if not self.begins:
            await send(start)
        await send({"type": "http.response.body", "body": b"event: complete\n\n"})


@pytest.mark.parametrize("path", [CALL, QUEUE])
@pytest.mark.parametrize("begins", [True, False])
def test_ending_tells_who_waits_too_long(path, begins):
    async def run() -> None:
        page = Page(begins)
        visitor = Visitor(page.guard, path)
        await asyncio.sleep(0.01)
        await asyncio.to_thread(page.ending.end, 0.01)
        status, text = await visitor.read()
        if not begins:
            assert (status, json.loads(text)["detail"]) == (503, ENDING)
        elif path == CALL:
            assert text == f"event: error\ndata: {json.dumps(ENDING)}\n\n"
        else:
            message = json.loads(text.removeprefix("data: "))
            assert message == {"msg": "unexpected_error", "message": ENDING, "success": False}
        assert not page.ending.waiting

    asyncio.run(run())


def test_ending_waits_for_answers_and_lets_nothing_begin():
    async def run() -> None:
        page = Page()
        visitors = [Visitor(page.guard, path) for path in (CALL, QUEUE)]
        await asyncio.sleep(0.01)
        end = asyncio.create_task(asyncio.to_thread(page.ending.end, 60))
        await asyncio.sleep(0.01)
        for path in ("/gradio_api/upload", "/gradio_api/queue/join", "/gradio_api/call/analyze"):
            status, text = await Visitor(page.guard, path, "POST").read()
            assert status == 503
            assert ENDING in text
        page.let.set()
        for visitor in visitors:
            assert await visitor.read() == (200, "event: complete\n\n")
        await end
        assert (await Visitor(page.guard, CALL).read())[0] == 503

    asyncio.run(run())


def test_guard_logs_a_failure_in_one_line(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("app.guard"), "disabled", False)  # as another test may leave it
    caplog.set_level(logging.WARNING, "app.guard")

    async def broken(scope, receive, send) -> None:
        if scope["path"] == QUEUE:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise KeyError("what")

    async def run() -> None:
        guard = Guard(broken, Limits(), Path(), Ending())
        for path, status in ((CALL, 400), (QUEUE, 200), ("/gradio_api/info", 400)):
            assert (await Visitor(guard, path).read())[0] == status

    asyncio.run(run())
    assert [record.getMessage().count("\n") for record in caplog.records] == [0, 0, 0]
    assert all("KeyError('what') in" in record.getMessage() for record in caplog.records)
