"""The Hub's API that tells what there is: repositories, branches, commits, files and folders."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.local_hub import metadata
from tests.local_hub.access import Access
from tests.local_hub.http import parameter, repository_routes, routed
from tests.local_hub.store import RefusedError

COMMITS_PAGE = 50
TRUE = ("true", "True", "1")


class Reading:
    """What is answered on repositories and what is in them."""

    def __init__(self, access: Access):
        self.access = access

    def listing(self, request: Request, body: bytes) -> Response:
        caller, asked = self.access.caller(request), request.query_params
        found = [
            metadata.info(repository, "main")
            for repository in self.access.store.all(request.path_params["kind"][:-1])
            if (not repository.state["private"] or caller.owns(repository.repo_id))
            and repository.repo_id.startswith(f"{asked['author']}/" if "author" in asked else "")
            and asked.get("search", "").lower() in repository.repo_id.lower()
        ]
        found = [item for item in found if set(asked.getlist("filter")) <= set(item["tags"])]
        if asked.get("full") not in TRUE:
            found = [{key: value for key, value in item.items() if key != "siblings"} for item in found]
        return self._page(request, found, min(int(asked.get("limit", self.access.tree_page)), self.access.tree_page))

    def info(self, request: Request, body: bytes) -> Response:
        repository, asked = self.access.readable(request), request.query_params
        revision = parameter(request, "revision", "main")
        found = metadata.info(repository, revision, blobs=asked.get("blobs") in TRUE)
        if expand := asked.getlist("expand"):
            found = {key: value for key, value in found.items() if key in {"_id", "id", *expand}}
        return JSONResponse(found)

    def refs(self, request: Request, body: bytes) -> Response:
        repository = self.access.readable(request)
        groups: dict[str, list[dict[str, str]]] = {"branches": [], "converts": [], "tags": [], "pullRequests": []}
        names = {"refs/heads/": "branches", "refs/tags/": "tags", "refs/pr/": "pullRequests"}
        for ref, commit in sorted(repository.state["refs"].items()):
            prefix = next(prefix for prefix in names if ref.startswith(prefix))
            name = ref.removeprefix("refs/pr/" if prefix == "refs/pr/" else prefix)
            groups[names[prefix]].append({"name": name, "ref": ref, "targetCommit": commit})
        return JSONResponse(groups)

    def commits(self, request: Request, body: bytes) -> Response:
        repository = self.access.readable(request)
        found = [
            {
                "id": commit["oid"],
                "title": commit["title"],
                "message": commit["message"],
                "date": commit["date"],
                "authors": [{"user": commit["author"]}],
                "formatted": {"title": commit["title"], "message": commit["message"]},
            }
            for commit in repository.history(parameter(request, "revision"))
        ]
        return self._page(request, found, COMMITS_PAGE)

    def tree(self, request: Request, body: bytes) -> Response:
        repository, revision = self.access.readable(request), parameter(request, "revision")
        folder = parameter(request, "path", "").strip("/")
        commit, asked = repository.commit(revision), request.query_params
        inside = f"{folder}/" if folder else ""
        entries = metadata.entries(commit)
        if folder and entries.get(folder, {}).get("type") != "directory":
            raise RefusedError(404, f'{folder} does not exist on "{revision}"', "EntryNotFound", commit["oid"])
        recursive = asked.get("recursive") in TRUE
        found = [
            entry
            for path, entry in entries.items()
            if path.startswith(inside) and (recursive or "/" not in path[len(inside) :])
        ]
        if asked.get("expand") in TRUE:
            found = metadata.expanded(repository, commit, found)
        return self._page(request, found, self.access.tree_page)

    def paths_info(self, request: Request, body: bytes) -> Response:
        repository = self.access.readable(request)
        commit, asked = repository.commit(parameter(request, "revision")), request.state.form
        entries = metadata.entries(commit)
        found = [entries[path.strip("/")] for path in asked.get("paths", []) if path.strip("/") in entries]
        if asked.get("expand", ["false"])[0] in TRUE:
            found = metadata.expanded(repository, commit, found)
        return JSONResponse(found)

    def _page(self, request: Request, found: list[Any], size: int) -> Response:
        start = int(request.query_params.get("cursor", 0))
        response = JSONResponse(found[start : start + size], headers={"X-Total-Count": str(len(found))})
        if start + size < len(found):
            asked = [(key, value) for key, value in request.query_params.multi_items() if key != "cursor"]
            query = urlencode([*asked, ("cursor", start + size)])
            response.headers["Link"] = f'<{self.access.endpoint}{request.url.path}?{query}>; rel="next"'
        return response

    def routes(self) -> list[Route]:
        """Their addresses."""
        return [
            routed("/api/{kind:kind}", self.listing),
            *repository_routes(
                ("", self.info, "GET"),
                ("/revision/{revision}", self.info, "GET"),
                ("/refs", self.refs, "GET"),
                ("/commits/{revision}", self.commits, "GET"),
                ("/tree/{revision}", self.tree, "GET"),
                ("/tree/{revision}/{path:path}", self.tree, "GET"),
                ("/paths-info/{revision}", self.paths_info, "POST"),
            ),
        ]
