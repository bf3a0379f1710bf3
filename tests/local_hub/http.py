"""How the local Hub's handlers are called: in threads, with the body of the request read for them."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from starlette.concurrency import run_in_threadpool
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.local_hub.store import RefusedError

Handler = Callable[[Request, Any], Response]


class _Kind(Convertor[str]):
    regex = "models|datasets|spaces"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


class _Values(_Kind):
    regex = "variables|secrets"


register_url_convertor("kind", _Kind())
register_url_convertor("values", _Values())


def parameter(request: Request, name: str, default: str = "") -> str:
    """A part of the address; a revision such as refs/pr/1 comes with its slashes quoted."""
    return unquote(request.path_params.get(name, default))


def routed(path: str, handler: Handler, *methods: str) -> Route:
    """A route whose handler gets the whole body, for requests that are small."""

    async def run(request: Request) -> Response:
        body = await request.body()
        if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            request.state.form = parse_qs(body.decode())
        return await run_in_threadpool(handler, request, body)

    return Route(path, run, methods=list(methods) or ["GET"])


def repository_routes(*routes: tuple[Any, ...]) -> list[Route]:
    """Routes below the address of a repository in the API: end of the address, handler, methods."""
    return [routed(f"/api/{{kind:kind}}/{{namespace}}/{{name}}{path}", *rest) for path, *rest in routes]


def spooled(handler: Callable[[Request, Path], Response], folder: Path) -> Callable[[Request], Awaitable[Response]]:
    """A handler that gets the body as a file, for requests of any size."""

    async def run(request: Request) -> Response:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / uuid.uuid4().hex
        try:
            with path.open("wb") as file:
                async for chunk in request.stream():
                    file.write(chunk)
            return await run_in_threadpool(handler, request, path)
        finally:
            path.unlink(missing_ok=True)

    return run


def refused(request: Request, refusal: Exception) -> Response:
    """What a client is sent instead of an answer."""
    assert isinstance(refusal, RefusedError)
    headers = {"X-Error-Message": refusal.message.encode("ascii", "replace").decode().replace("\n", " ")}
    if refusal.code:
        headers["X-Error-Code"] = refusal.code
    if refusal.commit:
        headers["X-Repo-Commit"] = refusal.commit
    return JSONResponse({"error": refusal.message}, refusal.status, headers)


def unheard(request: Request, error: Exception) -> Response:
    """What is sent where the client is gone: nobody hears it."""
    return Response(status_code=400)
