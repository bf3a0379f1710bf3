"""Discussions and pull requests of the local Hub."""

from __future__ import annotations

import json
import uuid
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.local_hub.access import Access, Caller
from tests.local_hub.http import repository_routes
from tests.local_hub.store import RefusedError, Repository, now

DISCUSSIONS_PAGE = 10


def propose(repository: Repository, caller: Caller, title: str, text: str, commit: str, base: str) -> int:
    """Open a pull request whose branch is at a commit; the answer is its number."""
    number = _open(repository, caller, title, text, is_pull_request=True, base=base)
    repository.update(refs={**repository.state["refs"], f"refs/pr/{number}": commit})
    note_commit(repository, number, caller, title, commit)
    return number


def note_commit(repository: Repository, number: int, caller: Caller, title: str, commit: str) -> None:
    """Say in a pull request that its branch has a new commit."""
    discussion = _get(repository, number)
    discussion["events"].append(_event(caller, "commit", {"subject": title, "oid": commit}))
    repository.update()


def check_may_change(repository: Repository, number: int, caller: Caller) -> None:
    """A refusal where the caller neither opened a pull request nor owns the repository, or where it is closed."""
    discussion = _get(repository, number)
    if not caller.owns(repository.repo_id) and discussion["author"]["name"] != caller.name:
        raise RefusedError(403, "Forbidden: this pull request is not yours")
    if discussion["status"] not in ("open", "draft"):
        raise RefusedError(400, f"The pull request is {discussion['status']}")


class Discussions:
    """What the API answers on discussions."""

    def __init__(self, access: Access):
        self.access = access

    def listing(self, request: Request, body: bytes) -> Response:
        repository, asked = self.access.readable(request), request.query_params
        kinds = {"discussion": [False], "pull_request": [True]}.get(asked.get("type", "all"), [True, False])
        states = {"open": ["open", "draft"], "closed": ["closed", "merged"]}.get(asked.get("status", "all"))
        found = [
            {key: value for key, value in discussion.items() if key not in ("events", "changes")}
            for discussion in reversed(repository.state["discussions"])
            if discussion["isPullRequest"] in kinds
            and (states is None or discussion["status"] in states)
            and asked.get("author", discussion["author"]["name"]) == discussion["author"]["name"]
        ]
        start = int(asked.get("p", 0)) * DISCUSSIONS_PAGE
        page = found[start : start + DISCUSSIONS_PAGE]
        return JSONResponse({"discussions": page, "count": len(found), "start": start})

    def details(self, request: Request, body: bytes) -> Response:
        repository = self.access.readable(request)
        discussion = _get(repository, request.path_params["number"])
        conflicts = _conflicts(repository, discussion) if discussion["isPullRequest"] else []
        return JSONResponse({**discussion, "filesWithConflicts": conflicts, "diff": ""})

    def create(self, request: Request, body: bytes) -> Response:
        repository, caller = self.access.writable(request, proposal=True)
        asked = json.loads(body)
        title, text = asked["title"], asked.get("description", "")
        with repository.lock:
            if asked.get("pullRequest"):
                number = _open(repository, caller, title, text, True, "refs/heads/main", status="draft")
                repository.update(refs={**repository.state["refs"], f"refs/pr/{number}": repository.find("main")})
            else:
                number = _open(repository, caller, title, text, is_pull_request=False)
        return JSONResponse({"num": number})

    def change(self, request: Request, body: bytes) -> Response:
        """Comment, rename, open, close or merge."""
        repository, caller = self.access.writable(request, proposal=True)
        number, change = request.path_params["number"], request.path_params["change"]
        asked = json.loads(body or b"{}") or {}
        with repository.lock:
            discussion = _get(repository, number)
            answer = {}
            if change != "comment" and discussion["author"]["name"] != caller.name:
                self.access.writable(request)
            if asked.get("comment"):
                answer["newMessage"] = _comment(caller, asked["comment"])
            if change == "title":
                answer["newTitle"] = _event(caller, "title-change", {"from": discussion["title"], "to": asked["title"]})
                discussion["title"] = asked["title"]
            elif change == "status":
                answer["newStatus"] = _event(caller, "status-change", {"status": asked["status"]})
                discussion["status"] = asked["status"]
            elif change == "merge":
                self.access.writable(request)
                _merge(repository, discussion, caller)
                answer["newStatus"] = _event(caller, "status-change", {"status": "merged"})
            elif change != "comment":
                raise RefusedError(404, f"Unknown change of a discussion: {change}")
            discussion["events"] += answer.values()
            repository.update()
        return JSONResponse(answer)

    def routes(self) -> list[Route]:
        """Their addresses."""
        return repository_routes(
            ("/discussions", self.listing, "GET"),
            ("/discussions", self.create, "POST"),
            ("/discussions/{number:int}", self.details, "GET"),
            ("/discussions/{number:int}/{change}", self.change, "POST"),
        )


def _get(repository: Repository, number: int) -> dict[str, Any]:
    discussions = repository.state["discussions"]
    if not 1 <= number <= len(discussions):
        raise RefusedError(404, f"There is no discussion {number}")
    return discussions[number - 1]


def _open(
    repository: Repository,
    caller: Caller,
    title: str,
    text: str,
    is_pull_request: bool,
    base: str | None = None,
    status: str = "open",
) -> int:
    number = len(repository.state["discussions"]) + 1
    discussion = {
        "num": number,
        "title": title,
        "author": {"name": caller.name},
        "createdAt": now(),
        "status": status,
        "isPullRequest": is_pull_request,
        "repo": {"name": repository.repo_id, "type": repository.repo_type},
        "events": [_comment(caller, text)],
        "changes": {"base": base} if is_pull_request else None,
    }
    repository.update(discussions=[*repository.state["discussions"], discussion])
    return number


def _event(caller: Caller, kind: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"id": uuid.uuid4().hex, "type": kind, "createdAt": now(), "author": {"name": caller.name}, "data": data}


def _comment(caller: Caller, text: str) -> dict[str, Any]:
    latest = {"raw": text, "html": text, "updatedAt": now(), "author": {"name": caller.name}}
    return _event(caller, "comment", {"edited": False, "hidden": False, "latest": latest, "history": []})


def _common(repository: Repository, discussion: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """The files of the last commit that a pull request and its base share, of the base, and of the pull request."""
    base, number = discussion["changes"]["base"], discussion["num"]
    before = {commit["oid"] for commit in repository.history(base)}
    proposed = repository.history(f"refs/pr/{number}")
    shared = next(commit for commit in proposed if commit["oid"] in before)
    return shared["files"], repository.commit(base)["files"], proposed[0]["files"]


def _conflicts(repository: Repository, discussion: dict[str, Any]) -> list[str]:
    if discussion["status"] == "merged":
        return []
    shared, base, proposed = _common(repository, discussion)
    changed = [path for path in {*shared, *proposed} if shared.get(path) != proposed.get(path)]
    return sorted(path for path in changed if base.get(path) not in (shared.get(path), proposed.get(path)))


def _merge(repository: Repository, discussion: dict[str, Any], caller: Caller) -> None:
    if not discussion["isPullRequest"] or discussion["status"] not in ("open", "draft"):
        raise RefusedError(400, f"It cannot be merged: it is {discussion['status']}")
    if conflicts := _conflicts(repository, discussion):
        raise RefusedError(409, f"It cannot be merged: conflicts in {', '.join(conflicts)}")
    shared, base, proposed = _common(repository, discussion)
    changes: list[tuple[str, str, Any]] = []
    for path in sorted({*shared, *proposed}):
        if shared.get(path) != proposed.get(path) != base.get(path):
            entry = proposed.get(path)
            changes.append(("add", path, entry) if entry else ("delete", path, None))
    ref, title = discussion["changes"]["base"], f"{discussion['title']} (#{discussion['num']})"
    commit = repository.make_commit(repository.find(ref), changes, title, "", str(caller.name))
    discussion["status"] = "merged"
    discussion["changes"]["mergeCommitId"] = commit
    repository.update(refs={**repository.state["refs"], ref: commit})
