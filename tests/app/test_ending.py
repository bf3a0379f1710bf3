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

    @property
    def status(self) -> int:
        return self.sent[0]["status"]

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self.sent).decode()

    @property
    def is_over(self) -> bool:
        return self.task.done() and not self.sent[-1].get("more_body", False)


class Page:
    """Answers when it is let; before that it has begun, or not even that."""

    def __init__(self, begins: bool = True) -> None:
        self.begins, self.let, self.was_left = begins, asyncio.Event(), False
        self.ending = Ending()
        self.guard = Guard(self.answer, Limits(), Path(), self.ending)

    async def answer(self, scope, receive, send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": []}
        if self.begins:
            await send(start)
        try:
            await self.let.wait()
        except asyncio.CancelledError:
            self.was_left = True
            await send({"type": "http.response.body", "body": b"Cancelled by <Task>", "more_body": True})  # as Gradio
            raise
        if not self.begins:
            await send(start)
        await send({"type": "http.response.body", "body": b"event: complete\n\n"})


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize("path", [CALL, QUEUE])
@pytest.mark.parametrize("begins", [True, False])
def test_who_waits_when_the_time_is_over_is_told_in_words(path, begins):
    async def run() -> None:
        page = Page(begins)
        visitor = Visitor(page.guard, path)
        await settle()
        page.ending.begin()
        assert not page.ending.wait(0)
        page.ending.tell()
        await visitor.task
        assert visitor.is_over
        assert page.was_left
        assert page.ending.wait(0)
        if not begins:
            assert visitor.status == 503
            assert json.loads(visitor.text)["detail"] == ENDING
        elif path == CALL:
            assert visitor.text == f"event: error\ndata: {json.dumps(ENDING)}\n\n"
        else:
            message = json.loads(visitor.text.removeprefix("data: "))
            assert message == {"msg": "unexpected_error", "message": ENDING, "success": False}

    asyncio.run(run())


def test_who_is_answered_in_time_is_not_told_and_the_page_waits_for_no_more():
    async def run() -> None:
        page = Page()
        visitors = [Visitor(page.guard, CALL), Visitor(page.guard, QUEUE)]
        await settle()
        page.ending.begin()
        assert not page.ending.wait(0)
        page.let.set()
        for visitor in visitors:
            await visitor.task
            assert visitor.text == "event: complete\n\n"
        assert page.ending.wait(0)

    asyncio.run(run())


def test_nothing_new_begins_and_late_comers_for_an_answer_are_told():
    async def run() -> None:
        page = Page()
        page.ending.begin()
        assert page.ending.wait(0)
        for path in ("/gradio_api/upload", "/gradio_api/queue/join", "/gradio_api/call/analyze"):
            visitor = Visitor(page.guard, path, "POST")
            await visitor.task
            assert visitor.status == 503
            assert ENDING in visitor.text
        first = Visitor(page.guard, CALL)
        await settle()
        page.ending.tell()
        await first.task
        late = Visitor(page.guard, CALL)
        await late.task
        assert late.is_over
        assert ENDING in late.text

    asyncio.run(run())


def test_what_breaks_behind_the_guard_is_one_line_for_the_operator_and_words_for_the_visitor(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("app.guard"), "disabled", False)  # as another test may leave it
    caplog.set_level(logging.WARNING, "app.guard")

    async def broken(scope, receive, send) -> None:
        if scope["path"] == QUEUE:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise KeyError("what")

    async def run() -> None:
        guard = Guard(broken, Limits(), Path(), Ending())
        for path, status in ((CALL, 400), (QUEUE, 200), ("/gradio_api/info", 400)):
            visitor = Visitor(guard, path)
            await visitor.task
            assert visitor.is_over
            assert visitor.status == status

    asyncio.run(run())
    assert [record.getMessage().count("\n") for record in caplog.records] == [0, 0, 0]
    assert all("KeyError('what') in" in record.getMessage() for record in caplog.records)
