"""Pages of the local Hub for a person: which repositories there are, and what one of them holds."""

from __future__ import annotations

from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from tests.local_hub.access import Access
from tests.local_hub.http import parameter, routed
from tests.local_hub.store import REPO_TYPES, Repository

STYLE = (
    "body{font:16px/1.5 system-ui;margin:2rem auto;max-width:60rem;padding:0 1rem}pre{background:#f4f4f4;padding:1rem;\
overflow-x:auto;white-space:pre-wrap}td{padding-right:2rem}"
)


class Pages:
    """HTML without forms; everything is readable, private repositories too, for this Hub is one's own."""

    def __init__(self, access: Access):
        self.access = access

    def start(self, request: Request, body: bytes) -> Response:
        """The repositories of each type."""
        parts = []
        for repo_type in REPO_TYPES:
            found = self.access.store.all(repo_type)
            items = "".join(f"<li>{self._link(repository)}{_marks(repository)}</li>" for repository in found)
            parts.append(f"<h2>{repo_type.title()}s</h2><ul>{items or '<li>none</li>'}</ul>")
        return _page("A local Hub", "".join(parts))

    def repository(self, request: Request, body: bytes) -> Response:
        """Files, card, history and pull requests of one repository."""
        values = request.path_params
        repo_type = values.get("kind", "models")[:-1]
        repository = self.access.store.get(repo_type, f"{values['namespace']}/{values['name']}")
        revision = parameter(request, "revision", "main")
        if "number" in values:
            revision = f"refs/pr/{values['number']}"
        commit, address = repository.commit(revision), self.access.url(repository)
        rows = "".join(
            f"<tr><td><a href='{address}/resolve/{commit['oid']}/{escape(path)}'>{escape(path)}</a></td>"
            f"<td>{entry['size']:,} bytes</td><td>{'LFS' if 'lfs' in entry else ''}</td></tr>"
            for path, entry in commit["files"].items()
        )
        history = "".join(
            f"<li><a href='{address}/commit/{one['oid']}'>{one['oid'][:7]}</a> {escape(one['title'])}"
            f" ({escape(one['author'])}, {one['date']})</li>"
            for one in repository.history(revision)
        )
        proposals = "".join(
            f"<li><a href='{address}/discussions/{one['num']}'>#{one['num']}</a> {escape(one['title'])}"
            f" ({one['status']})</li>"
            for one in repository.state["discussions"]
        )
        card = escape(repository.text(revision, "README.md"))
        title = f"{repo_type} {repository.repo_id}"
        return _page(
            title,
            f"<p>{escape(revision)}, commit {commit['oid']}{_marks(repository)} · <a href='/'>all repositories</a></p>"
            f"<h2>Files</h2><table>{rows}</table><h2>Card</h2><pre>{card}</pre>"
            f"<h2>Commits</h2><ul>{history}</ul><h2>Discussions</h2><ul>{proposals or '<li>none</li>'}</ul>",
        )

    def _link(self, repository: Repository) -> str:
        return f"<a href='{self.access.url(repository)}'>{escape(repository.repo_id)}</a>"

    def routes(self) -> list[Route]:
        """The addresses that the API names in its answers, too."""
        routes = [routed("/", self.start)]
        for prefix in ("/{kind:kind}", ""):
            repository = f"{prefix}/{{namespace}}/{{name}}"
            for path in ("", "/tree/{revision}", "/commit/{revision}", "/discussions/{number:int}"):
                routes.append(routed(repository + path, self.repository))
        return routes


def _marks(repository: Repository) -> str:
    marks = [name for name in ("private", "gated") if repository.state[name]]
    return f" ({', '.join(marks)})" if marks else ""


def _page(title: str, body: str) -> HTMLResponse:
    head = f"<title>{escape(title)}</title><meta name='viewport' content='width=device-width'><style>{STYLE}</style>"
    return HTMLResponse(
        f"<!doctype html><html lang='en'><head>{head}</head><body><h1>{escape(title)}</h1>{body}</body></html>"
    )
