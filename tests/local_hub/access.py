"""Who asks, and which repositories they may see, read and change."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.requests import Request

from tests.local_hub.store import HubStore, RefusedError, Repository


@dataclass
class Caller:
    """Who sent a request; ``name`` is None without a token."""

    name: str | None = None
    role: str = "none"
    organisations: list[str] = field(default_factory=list)

    def owns(self, repo_id: str) -> bool:
        """Whether a repository lies in a namespace of the caller's."""
        return self.name is not None and repo_id.split("/")[0] in (self.name, *self.organisations)


@dataclass
class Access:
    """What every handler needs: the repositories, and who may do what with them.

    Attributes:
        tokens: token to (user, "read" or "write").
        organisations: name to its members.
        endpoint: the address of the server, without a slash at its end.
        tree_page: entries of a listing that one answer holds.
    """

    store: HubStore
    tokens: dict[str, tuple[str, str]]
    organisations: dict[str, list[str]]
    endpoint: str
    tree_page: int = 1000

    def caller(self, request: Request) -> Caller:
        """Who asks; a refusal where the token is not known."""
        header = request.headers.get("authorization")
        if not header:
            return Caller()
        name, role = self.tokens.get(header.removeprefix("Bearer ").strip(), (None, None))
        if name is None or role is None:
            raise RefusedError(401, "Invalid credentials in Authorization header")
        return Caller(name, role, [group for group, members in self.organisations.items() if name in members])

    def readable(self, request: Request) -> Repository:
        """The repository that a request names, where the caller may know of it."""
        caller = self.caller(request)
        repo_type, repo_id = request.path_params["kind"][:-1], _repo_id(request)
        if self.store.exists(repo_type, repo_id):
            repository = self.store.get(repo_type, repo_id)
            if not repository.state["private"] or caller.owns(repo_id):
                return repository
        # The Hub does not say whether there is such a repository to those who may not see it.
        if caller.name is None:
            raise RefusedError(401, "Invalid username or password.", "RepoNotFound")
        raise RefusedError(404, "Repository not found", "RepoNotFound")

    def open(self, request: Request) -> Repository:
        """The repository that a request names, where the caller may read its files."""
        repository, caller = self.readable(request), self.caller(request)
        if repository.state["gated"] and not caller.owns(repository.repo_id):
            words = f"Access to {repository.repo_type} {repository.repo_id} is restricted"
            if caller.name is None:
                raise RefusedError(401, f"{words}. You must be authenticated to access it.", "GatedRepo")
            raise RefusedError(403, f"{words} and you are not in the authorized list.", "GatedRepo")
        return repository

    def writable(self, request: Request, proposal: bool = False) -> tuple[Repository, Caller]:
        """The repository that a request names, where the caller may write to it (``proposal``: propose to it)."""
        repository, caller = self.readable(request), self.caller(request)
        if caller.name is None:
            raise RefusedError(401, "Invalid username or password.")
        if caller.role != "write":
            raise RefusedError(403, "Forbidden: this token may only read")
        if not proposal and not caller.owns(repository.repo_id):
            raise RefusedError(403, "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request")
        return repository, caller

    def url(self, repository: Repository) -> str:
        """The address of a repository's page."""
        prefix = "" if repository.repo_type == "model" else f"{repository.repo_type}s/"
        return f"{self.endpoint}/{prefix}{repository.repo_id}"


def _repo_id(request: Request) -> str:
    return f"{request.path_params['namespace']}/{request.path_params['name']}"
