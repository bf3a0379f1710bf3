"""The Hub's API for accounts and for repositories as a whole: made, deleted, private or gated, a Space's variables."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.local_hub import cards
from tests.local_hub.access import Access
from tests.local_hub.http import repository_routes, routed
from tests.local_hub.store import RefusedError, now


class Accounts:
    """What is answered on accounts and on repositories as a whole."""

    def __init__(self, access: Access):
        self.access = access

    def whoami(self, request: Request, body: bytes) -> Response:
        caller = self.access.caller(request)
        if caller.name is None:
            raise RefusedError(401, "Invalid username or password.")
        groups = [
            {"type": "org", "name": name, "fullname": name, "roleInOrg": "write"} for name in caller.organisations
        ]
        token = {"displayName": "local", "role": caller.role, "createdAt": "2024-01-01T00:00:00.000Z"}
        return JSONResponse(
            {
                "type": "user",
                "id": caller.name,
                "name": caller.name,
                "fullname": caller.name,
                "isPro": False,
                "orgs": groups,
                "auth": {"type": "access_token", "accessToken": token},
            }
        )

    def create(self, request: Request, body: bytes) -> Response:
        caller, asked = self.access.caller(request), json.loads(body)
        repo_type = asked.get("type") or "model"
        repo_id = f"{asked.get('organization') or caller.name}/{asked['name']}"
        if caller.name is None:
            raise RefusedError(401, "Invalid username or password.")
        if caller.role != "write" or not caller.owns(repo_id):
            namespace = repo_id.split("/")[0]
            raise RefusedError(
                403, f"You don't have the rights to create a {repo_type} under the namespace {namespace!r}"
            )
        if repo_type == "space" and asked.get("sdk") not in cards.SDKS:
            raise RefusedError(400, f'"sdk" must be one of [{", ".join(cards.SDKS)}]')
        private = asked.get("private", False) or asked.get("visibility") == "private"
        url = f"{self.access.endpoint}/{'' if repo_type == 'model' else repo_type + 's/'}{repo_id}"
        try:
            repository = self.access.store.create(repo_type, repo_id, caller.name, private, asked.get("sdk"))
        except RefusedError as refusal:  # the client reads the address from a refusal too
            return JSONResponse({"error": refusal.message, "url": url}, refusal.status)
        for kind in ("variables", "secrets"):
            values = {item["key"]: _noted(item) for item in asked.get(kind) or []}
            repository.update(**{kind: values})
        return JSONResponse({"url": url, "name": repo_id, "id": repo_id})

    def delete(self, request: Request, body: bytes) -> Response:
        asked = json.loads(body)
        request.path_params["kind"] = f"{asked.get('type') or 'model'}s"
        request.path_params["namespace"] = asked.get("organization") or self.access.caller(request).name
        request.path_params["name"] = asked["name"]
        repository, _ = self.access.writable(request)
        self.access.store.delete(repository.repo_type, repository.repo_id)
        return Response("OK")

    def settings(self, request: Request, body: bytes) -> Response:
        repository, _ = self.access.writable(request)
        asked = json.loads(body)
        if "visibility" in asked:
            asked["private"] = asked["visibility"] == "private"
        with repository.lock:
            repository.update(**{key: asked[key] for key in ("private", "gated") if key in asked})
        return JSONResponse({key: repository.state[key] for key in ("private", "gated")})

    def space_values(self, request: Request, body: bytes) -> Response:
        """Variables and secrets of a Space: read (a secret without its value), set, deleted."""
        repository, _ = self.access.writable(request)
        kind, asked = request.path_params["values"], json.loads(body or b"{}")
        with repository.lock:
            values = dict(repository.state[kind])
            if request.method == "POST":
                values[asked["key"]] = _noted(asked)
            if request.method == "DELETE":
                values.pop(asked["key"], None)
            repository.update(**{kind: values})
        hidden = {"value"} if kind == "secrets" else set()
        return JSONResponse({key: {k: v for k, v in item.items() if k not in hidden} for key, item in values.items()})

    def validate_yaml(self, request: Request, body: bytes) -> Response:
        asked = json.loads(body)
        errors, warnings = cards.check_card(asked["content"], asked.get("repoType") or "model")
        answer = {
            key: [{"message": text} for text in texts] for key, texts in (("errors", errors), ("warnings", warnings))
        }
        return JSONResponse(answer, 400 if errors else 200)

    def runtime(self, request: Request, body: bytes) -> Response:
        """No Space runs here."""
        self.access.readable(request)
        return JSONResponse({"stage": "STOPPED", "hardware": {"current": None, "requested": "cpu-basic"}})

    def routes(self) -> list[Route]:
        """Their addresses."""
        return [
            routed("/api/whoami-v2", self.whoami),
            routed("/api/repos/create", self.create, "POST"),
            routed("/api/repos/delete", self.delete, "DELETE"),
            routed("/api/validate-yaml", self.validate_yaml, "POST"),
            *repository_routes(
                ("/settings", self.settings, "PUT"),
                ("/{values:values}", self.space_values, "GET", "POST", "DELETE"),
                ("/runtime", self.runtime, "GET"),
            ),
        ]


def _noted(item: dict[str, Any]) -> dict[str, Any]:
    return {"value": item["value"], "description": item.get("description"), "updatedAt": now()}
