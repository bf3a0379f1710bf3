"""The Hub's API that changes what a repository holds: commits, branches and tags."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.local_hub import cards, discussions
from tests.local_hub.access import Access
from tests.local_hub.git import REGULAR_LIMIT, is_binary, is_ignored, is_lfs_path, lfs_entry
from tests.local_hub.http import parameter, repository_routes, spooled
from tests.local_hub.store import RefusedError, Repository


class Committing:
    """What is done with commits, branches and tags."""

    def __init__(self, access: Access):
        self.access = access

    def branch(self, request: Request, body: bytes) -> Response:
        repository, _ = self.access.writable(request)
        ref = f"refs/heads/{parameter(request, 'branch')}"
        with repository.lock:
            if request.method == "POST":
                start = json.loads(body or b"{}").get("startingPoint") or "main"
                return self._add_ref(repository, ref, repository.find(start))
            return self._delete_ref(repository, ref)

    def tag(self, request: Request, body: bytes) -> Response:
        repository, _ = self.access.writable(request)
        revision = parameter(request, "revision")
        with repository.lock:
            if request.method == "POST":
                ref = f"refs/tags/{json.loads(body)['tag']}"
                return self._add_ref(repository, ref, repository.find(revision))
            return self._delete_ref(repository, f"refs/tags/{revision}")

    def _add_ref(self, repository: Repository, ref: str, commit: str) -> Response:
        if ref in repository.state["refs"]:
            raise RefusedError(409, f"Reference already exists: {ref}")
        repository.update(refs={**repository.state["refs"], ref: commit})
        return Response("OK")

    def _delete_ref(self, repository: Repository, ref: str) -> Response:
        if ref not in repository.state["refs"] or ref == "refs/heads/main":
            raise RefusedError(404, f"Invalid rev id: {ref}", "RevisionNotFound")
        repository.update(refs={key: value for key, value in repository.state["refs"].items() if key != ref})
        return Response("OK")

    def preupload(self, request: Request, body: bytes) -> Response:
        proposal = request.query_params.get("create_pr") == "1"
        revision = parameter(request, "revision")
        repository, _ = self.access.writable(request, proposal or revision.startswith("refs/pr/"))
        asked = json.loads(body)
        attributes = repository.text(revision, ".gitattributes")
        ignored = asked.get("gitIgnore") or repository.text(revision, ".gitignore")
        files = repository.commit(revision)["files"]
        answers = []
        for file in asked["files"]:
            path, sample = file["path"], base64.b64decode(file.get("sample", ""))
            large = is_lfs_path(path, attributes) or file["size"] > REGULAR_LIMIT or is_binary(sample)
            entry = files.get(path, {})
            answers.append(
                {
                    "path": path,
                    "uploadMode": "lfs" if large and file["size"] else "regular",
                    "shouldIgnore": is_ignored(path, ignored),
                    "oid": entry.get("lfs") or entry.get("oid"),
                }
            )
        return JSONResponse({"files": answers, "commitOid": repository.find(revision)})

    def commit(self, request: Request, body: Path) -> Response:
        """Change a branch by one commit, or propose that; ``body`` is a file with one JSON object a line."""
        proposal = request.query_params.get("create_pr") == "1"
        revision = parameter(request, "revision")
        repository, caller = self.access.writable(request, proposal or revision.startswith("refs/pr/"))
        with repository.lock:
            ref = revision if revision.startswith("refs/") else f"refs/heads/{revision}"
            if ref not in repository.state["refs"]:
                raise RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
            if revision.startswith("refs/pr/"):
                discussions.check_may_change(repository, int(revision.split("/")[-1]), caller)
            header, changes = self._operations(repository, body)
            head, parent = repository.find(ref), header.get("parentCommit")
            if parent and not proposal and not head.startswith(parent):
                raise RefusedError(412, "A commit has happened since. Please refresh and try again.")
            title, message = header["summary"], header.get("description", "")
            base = repository.find(parent) if parent else head
            oid = repository.make_commit(base, changes, title, message, str(caller.name))
            answer = {"success": True, "commitOid": oid, "commitUrl": f"{self.access.url(repository)}/commit/{oid}"}
            if proposal:
                number = discussions.propose(repository, caller, title, message, oid, ref)
                answer["pullRequestUrl"] = f"{self.access.url(repository)}/discussions/{number}"
            else:
                repository.update(refs={**repository.state["refs"], ref: oid})
                if revision.startswith("refs/pr/"):
                    discussions.note_commit(repository, int(revision.split("/")[-1]), caller, title, oid)
        return JSONResponse(answer)

    def _operations(self, repository: Repository, body: Path) -> tuple[dict[str, Any], list[tuple[str, str, Any]]]:
        header: dict[str, Any] = {}
        changes: list[tuple[str, str, Any]] = []
        with body.open("rb") as lines:
            for line in filter(bytes.strip, lines):
                item = json.loads(line)
                kind, value = item["key"], item["value"]
                if kind == "header":
                    header = value
                    continue
                path = _checked_path(value["path"])
                if kind == "file":
                    changes.append(("add", path, self._regular(repository, path, value)))
                elif kind == "lfsFile":
                    changes.append(("add", path, _large(repository, path, value)))
                elif kind in ("deletedFile", "deletedFolder"):
                    changes.append(("delete" if kind == "deletedFile" else "delete_folder", path, None))
                else:
                    raise RefusedError(400, f"Unknown operation: {kind}")
        if not header.get("summary"):
            raise RefusedError(400, '"summary" is required')
        return header, changes

    def _regular(self, repository: Repository, path: str, value: dict[str, Any]) -> dict[str, Any]:
        content = base64.b64decode(value["content"]) if value.get("encoding") == "base64" else value["content"].encode()
        if len(content) > REGULAR_LIMIT:
            raise RefusedError(400, f"Your push was rejected because it contains files larger than 10 MiB: {path}")
        if path == "README.md":
            errors, _ = cards.check_card(content.decode("utf-8", "replace"), repository.repo_type)
            if errors:
                raise RefusedError(400, "Invalid metadata in README.md: " + "; ".join(errors))
        return repository.add_object(content)

    def routes(self) -> list[Route]:
        """Their addresses."""
        return [
            *repository_routes(
                ("/branch/{branch}", self.branch, "POST", "DELETE"),
                ("/tag/{revision}", self.tag, "POST", "DELETE"),
                ("/preupload/{revision}", self.preupload, "POST"),
            ),
            Route(
                "/api/{kind:kind}/{namespace}/{name}/commit/{revision}",
                spooled(self.commit, self.access.store.root / "incoming"),
                methods=["POST"],
            ),
        ]


def _checked_path(path: str) -> str:
    path = path.strip("/")
    if not path or any(part in ("", ".", "..", ".git") for part in path.split("/")):
        raise RefusedError(400, f"Invalid path: {path!r}")
    return path


def _large(repository: Repository, path: str, value: dict[str, Any]) -> dict[str, Any]:
    size = repository.large_size(value["oid"])
    if size is None or value.get("size", size) != size:
        raise RefusedError(400, f"LFS pointer pointed to a file that does not exist in the remote storage: {path}")
    return lfs_entry(value["oid"], size)
