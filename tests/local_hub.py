"""A Hugging Face Hub on this machine: real HTTP for the real client, repositories in memory, faults on request.

It has what ser_hf and train.publish need of the Hub. In a test::

    with HubServer() as hub:
        point_client_at(hub, monkeypatch, hub.token("alice"), tmp_path / "home")         # the libraries of this process
        env = {**os.environ, **environment(hub, hub.token("alice"), tmp_path / "home")}  # a client in another process
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import yaml
from huggingface_hub import ModelCard, RepoCard

ORGANISATIONS = {"alice": ["lab"], "bob": []}  # of each user, who may write to their repositories
CHUNK = 1 << 16  # bytes
DATE = "2026-01-01T00:00:00.000Z"  # of all that happens here

# Of https://huggingface.co/docs/hub/repositories-licenses and /spaces-config-reference.
CHOICES = {
    "license": (
        "apache-2.0",
        "mit",
        "cc0-1.0",
        "cc-by-4.0",
        "cc-by-sa-4.0",
        "cc-by-nc-4.0",
        "cc-by-nc-sa-4.0",
        "other",
    ),
    "colorFrom": ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"),
    "colorTo": ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"),
    "sdk": ("gradio", "docker", "static"),
}
SHORT_DESCRIPTION_LENGTH = 60


@dataclass
class RefusedError(Exception):
    """A request that is refused: HTTP status, message, and the Hub's own code of the error."""

    status: int
    message: str
    code: str = ""


@dataclass(frozen=True)
class File:
    """The content of a file; binary ones are stored by git-lfs."""

    content: bytes

    @property
    def is_large(self) -> bool:
        return b"\0" in self.content[:512]

    @cached_property
    def etag(self) -> str:
        """What identifies the content for the client: the sha256 of a large file, git's id of another."""
        if self.is_large:
            return hashlib.sha256(self.content).hexdigest()
        return hashlib.sha1(f"blob {len(self.content)}\0".encode() + self.content).hexdigest()

    def described(self, path: str) -> dict[str, Any]:
        """What the API says of it in any list of files."""
        size, oid = len(self.content), self.etag[:40]
        entry: dict[str, Any] = {"type": "file", "path": path, "oid": oid, "size": size}
        if self.is_large:
            entry["lfs"] = {"oid": self.etag, "sha256": self.etag, "size": size, "pointerSize": 130}
        return {**entry, "rfilename": path, "blobId": oid}


@dataclass(frozen=True)
class Commit:
    """All files of a repository after a change."""

    title: str
    files: dict[str, File]
    parent: Commit | None = None
    oid: str = field(default_factory=lambda: (uuid.uuid4().hex * 2)[:40])

    @property
    def history(self) -> list[Commit]:
        """This commit and those before it, the newest first."""
        return [self, *(self.parent.history if self.parent else [])]


class Repository:
    """A model, dataset or space, with its commits and pull requests.

    Attributes:
        refs: commit by name: ``main``, ``refs/pr/1`` and so on.
        proposals: author and title of each pull request, the first of which is number 1.
    """

    def __init__(self, kind: str, repo_id: str, private: bool):
        self.kind, self.repo_id, self.private, self.gated = kind, repo_id, private, False
        self.page = f"{'' if kind == 'model' else kind + 's/'}{repo_id}"
        self.proposals: list[tuple[str, str]] = []
        self.refs = {"main": Commit("initial commit", {".gitattributes": File(b"*.safetensors filter=lfs\n")})}

    def find(self, revision: str) -> Commit:
        """The commit of a branch, pull request (``refs/pr/1``) or commit id."""
        known = {commit.oid: commit for head in self.refs.values() for commit in head.history} | self.refs
        if revision not in known:
            raise RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return known[revision]

    def commit(self, ref: str, title: str, changes: Mapping[str, File | None]) -> Commit:
        """Add, replace and delete (None) files by one commit, to which ``ref`` then points."""
        head = self.refs.get(ref, self.refs["main"])
        files = {path: file for path, file in {**head.files, **changes}.items() if file is not None}
        self.refs[ref] = Commit(title, files, head)
        return self.refs[ref]


class HubStore:
    """All repositories, to be looked at and changed without HTTP; a kind is "model", "dataset" or "space"."""

    def __init__(self) -> None:
        self._repositories: dict[tuple[str, str], Repository] = {}

    def create(self, kind: str, repo_id: str, private: bool = False) -> None:
        """Make a repository with the Hub's first commit."""
        self._repositories[kind, repo_id] = Repository(kind, repo_id, private)

    def get(self, kind: str, repo_id: str) -> Repository:
        """A repository that exists."""
        return self._repositories[kind, repo_id]

    def exists(self, kind: str, repo_id: str) -> bool:
        """Whether there is such a repository."""
        return (kind, repo_id) in self._repositories

    def add(self, kind: str, repo_id: str, files: Mapping[str, bytes]) -> Commit:
        """Add files to the main branch, as the owner may have done."""
        return self.get(kind, repo_id).commit("main", "Add files", {path: File(files[path]) for path in files})

    def commits(self, kind: str, repo_id: str) -> list[dict[str, str]]:
        """``oid`` and ``message`` of the commits of the main branch, the newest first."""
        return [{"oid": one.oid, "message": one.title} for one in self.get(kind, repo_id).find("main").history]

    def files(self, kind: str, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        """The content of every file of a commit, .gitattributes too, by path."""
        return {path: file.content for path, file in self.get(kind, repo_id).find(revision).files.items()}


def check_card(content: str, kind: str) -> list[str]:
    """The errors for which the Hub refuses a card of a model, dataset or space."""
    try:
        data = {"model": ModelCard}.get(kind, RepoCard)(content).data.to_dict()
    except (KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        return [f"Invalid metadata: {error}"]
    errors = [f'"{key}" is not allowed' for key in CHOICES.keys() & data.keys() if data[key] not in CHOICES[key]]
    if kind == "space":
        errors += [f'"{key}" is required' for key in ("title", "sdk") if key not in data]
        if len(data.get("short_description", "")) > SHORT_DESCRIPTION_LENGTH:
            errors.append(f'"short_description" must have at most {SHORT_DESCRIPTION_LENGTH} characters')
        # Unquoted, YAML reads 3.10 as the number 3.1.
        versions = ("sdk_version", "python_version")
        errors += [f'"{key}" must be a string' for key in versions if not isinstance(data.get(key, ""), str)]
    return errors


class HubServer:
    """A Hub that serves while the ``with`` block runs, on 127.0.0.1.

    Attributes:
        endpoint: the address, for HF_ENDPOINT.
        storage_url: where large files are; as at the Hub, that is another host.
        store: the repositories.
        storage: content of the large files that have arrived, by sha256.
        requests: method and path (without query, unquoted) of every request, in order.
    """

    def __init__(self) -> None:
        self.store = HubStore()
        self.storage: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"hub": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self.storage_url = f"http://localhost:{self._server.server_port}/storage"
        self.mend()

    def __enter__(self) -> HubServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the server; from then on, connections are refused."""
        self._server.shutdown()
        self._server.server_close()

    def token(self, user: str, role: str = "write") -> str:
        """The token of a user that may write, or only "read"."""
        return f"hf_{user}_{role}"

    def break_uploads(self, after_bytes: int) -> None:
        """Break the connection of every upload of a large file after so many bytes, until `mend`."""
        self.break_after = after_bytes

    def refuse(self, path_regex: str, status: int) -> None:
        """Answer with a status where the pattern is found in the path of a request, until `mend`."""
        self.refusal = (path_regex, status)

    def mend(self) -> None:
        """End every fault."""
        self.break_after: int | None = None
        self.refusal: tuple[str, int] | None = None


@dataclass(frozen=True)
class Answer:
    """What a request is answered with; a body that is not bytes is sent as JSON."""

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


ROUTES: list[tuple[str, re.Pattern[str], Callable[..., Answer]]] = []
_ID = r"(?P<repo_id>[^/]+/[^/]+?)"
API = rf"/api/(?P<kind>models|datasets|spaces)/{_ID}"
PAGE = rf"/((?P<kind>datasets|spaces)/)?{_ID}"  # a model's has no prefix
STORAGE = r"/storage/(?P<sha256>[0-9a-f]{64})"
REVISION = r"(?P<revision>[^/]+)"  # the slashes of refs/pr/1 come quoted


def route(method: str, pattern: str) -> Callable[[Callable[..., Answer]], Callable[..., Answer]]:
    """Let a method of `Handler` answer a kind of request; the named parts of the path are its arguments."""

    def register(answer: Callable[..., Answer]) -> Callable[..., Answer]:
        ROUTES.append((method, re.compile(pattern), answer))
        return answer

    return register


class Handler(BaseHTTPRequestHandler):
    """One connection of a client.

    Attributes:
        caller: the name of who sent the request, None without a token; ``role`` is "write", "read" or "none".
    """

    hub: ClassVar[HubServer]

    def do_GET(self) -> None:
        """Answer a request of any method."""
        address = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(address.query).items()}
        self.length = int(self.headers.get("Content-Length", 0))
        self.hub.requests.append((self.command, unquote(address.path)))
        with contextlib.suppress(ConnectionError):  # the client is to see a broken connection
            try:
                answer = self._dispatch("GET" if self.command == "HEAD" else self.command, address.path)
            except RefusedError as refusal:
                headers = {"X-Error-Message": refusal.message, "X-Error-Code": refusal.code}
                answer = Answer({"error": refusal.message}, refusal.status, headers)
            self._send(answer)

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 (the standard library's names)

    def _send(self, answer: Answer) -> None:
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(body)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: ``hub.requests`` holds what was asked."""

    def _dispatch(self, method: str, path: str) -> Answer:
        if method == "POST":
            self.body = self.rfile.read(self.length)
        if self.hub.refusal and re.search(self.hub.refusal[0], unquote(path)):
            raise RefusedError(self.hub.refusal[1], "refused on purpose")
        header = self.headers.get("Authorization", "")
        found = re.fullmatch(r"Bearer hf_(\w+)_(read|write)", header)
        if header and not (found and found[1] in ORGANISATIONS):
            raise RefusedError(401, "Invalid credentials in Authorization header")
        self.caller, self.role = found.groups() if found else (None, "none")
        for expected, pattern, answer in ROUTES:
            if method == expected and (found := pattern.fullmatch(path)):
                parts = {name: unquote(part or "") for name, part in found.groupdict().items()}
                if "repo_id" in parts:
                    parts["repository"] = self._readable(parts.pop("kind"), parts.pop("repo_id"))
                return answer(self, **parts)
        raise RefusedError(404, f"The local Hub has no {method} {path}")

    def _owns(self, repo_id: str) -> bool:
        return repo_id.split("/")[0] in (self.caller, *ORGANISATIONS.get(self.caller, []))

    def _readable(self, kind: str, repo_id: str) -> Repository:
        kind = kind.removesuffix("s") or "model"
        if self.hub.store.exists(kind, repo_id):
            repository = self.hub.store.get(kind, repo_id)
            if not repository.private or self._owns(repo_id):
                return repository
        # The Hub does not say whether there is such a repository to those who may not see it.
        status, message = (404, "Repository not found") if self.caller else (401, "Invalid username or password.")
        raise RefusedError(status, message, "RepoNotFound")

    def _check_write(self, repo_id: str, is_proposal: bool = False) -> None:
        if self.role != "write":
            raise RefusedError(403, "Forbidden: this token may not write")
        if not self._owns(repo_id) and not is_proposal:
            raise RefusedError(403, "Forbidden: pass `create_pr=1` to create a Pull Request")

    @route("GET", "/api/whoami-v2")
    def whoami(self) -> Answer:
        """The name, the organisations and the rights of a token."""
        if self.caller is None:
            raise RefusedError(401, "Invalid username or password.")
        groups = [{"name": name} for name in ORGANISATIONS[self.caller]]
        rights = {"accessToken": {"role": self.role}}
        return Answer({"type": "user", "name": self.caller, "orgs": groups, "auth": rights})

    @route("POST", "/api/repos/create")
    def create(self) -> Answer:
        """Make a repository."""
        asked = json.loads(self.body)
        kind, repo_id = asked.get("type") or "model", f"{asked.get('organization') or self.caller}/{asked['name']}"
        self._check_write(repo_id)
        if kind == "space" and asked.get("sdk") != "gradio":
            raise RefusedError(400, '"sdk" is required')
        is_there = self.hub.store.exists(kind, repo_id)
        if not is_there:
            private = bool(asked.get("private")) or asked.get("visibility") == "private"
            self.hub.store.create(kind, repo_id, private)
        address = f"{self.hub.endpoint}/{self.hub.store.get(kind, repo_id).page}"
        return Answer({"url": address}, 409 if is_there else 200)

    @route("POST", "/api/validate-yaml")
    def validate(self) -> Answer:
        """Check a card before anything is sent."""
        asked = json.loads(self.body)
        errors = check_card(asked["content"], asked["repoType"])
        return Answer({"errors": [{"message": error} for error in errors]}, 400 if errors else 200)

    @route("GET", rf"{API}(/revision/{REVISION})?")
    def info(self, repository: Repository, revision: str) -> Answer:
        """A repository at a revision."""
        commit = repository.find(revision or "main")
        known = {"id": repository.repo_id, "private": repository.private, "gated": repository.gated}
        known |= {"tags": [], "downloads": 0, "likes": 0, "lastModified": DATE, "sha": commit.oid}
        return Answer({**known, "siblings": [file.described(path) for path, file in commit.files.items()]})

    @route("GET", rf"{API}/tree/{REVISION}(/(?P<folder>.+))?")
    def tree(self, repository: Repository, revision: str, folder: str) -> Answer:
        """The files below a folder, or all files, of a commit."""
        files = repository.find(revision).files.items()
        return Answer([file.described(path) for path, file in files if path.startswith(f"{folder}/".lstrip("/"))])

    @route("GET", f"{API}/discussions")
    def discussions(self, repository: Repository) -> Answer:
        """The pull requests of an author, all of which are open."""
        shared = {"createdAt": DATE, "status": "open", "isPullRequest": True}
        shared["repo"] = {"name": repository.repo_id, "type": repository.kind}
        found = [
            {"num": number, "title": title, "author": {"name": author}, **shared}
            for number, (author, title) in enumerate(repository.proposals, 1)
            if author == self.query["author"]
        ]
        return Answer({"discussions": found, "count": len(found), "start": 0})

    @route("GET", rf"{PAGE}/resolve/{REVISION}/(?P<path>.+)")
    def resolve(self, repository: Repository, revision: str, path: str) -> Answer:
        """A regular file, or the way to a large one."""
        if repository.gated and not self._owns(repository.repo_id):
            raise RefusedError(403, f"Access to {repository.repo_id} is restricted", "GatedRepo")
        commit = repository.find(revision)
        headers = {"X-Repo-Commit": commit.oid}
        if path not in commit.files:
            return Answer({"error": "Entry not found"}, 404, {**headers, "X-Error-Code": "EntryNotFound"})
        file = commit.files[path]
        headers["ETag"] = f'"{file.etag}"'
        if not file.is_large:
            return Answer(file.content, headers=headers)
        self.hub.storage[file.etag] = file.content
        headers |= {"X-Linked-ETag": headers["ETag"], "X-Linked-Size": str(len(file.content))}
        return Answer(status=302, headers={**headers, "Location": f"{self.hub.storage_url}/{file.etag}"})

    @route("GET", STORAGE)
    def download(self, sha256: str) -> Answer:
        """A large file."""
        return Answer(self.hub.storage[sha256], headers={"ETag": f'"{sha256}"'})

    @route("POST", rf"{API}/preupload/{REVISION}")
    def preupload(self, repository: Repository, revision: str) -> Answer:
        """Which files go over git-lfs, and what is there under their names."""
        self._check_write(repository.repo_id, "create_pr" in self.query or revision != "main")
        commit, answers = repository.find(revision), []
        for asked in json.loads(self.body)["files"]:
            mode = "lfs" if File(base64.b64decode(asked["sample"])).is_large else "regular"
            known = commit.files.get(asked["path"])
            answer = {"path": asked["path"], "uploadMode": mode, "shouldIgnore": False}
            answers.append({**answer, "oid": known.etag if known else None})
        return Answer({"files": answers})

    @route("POST", rf"{PAGE}\.git/info/lfs/objects/batch")
    def lfs_batch(self, repository: Repository) -> Answer:
        """Where to send which large files; what has arrived before need not be sent."""
        self._check_write(repository.repo_id, is_proposal=True)  # the client does not say which
        objects = json.loads(self.body)["objects"]
        for one in objects:
            if one["oid"] not in self.hub.storage:
                one["actions"] = {"upload": {"href": f"{self.hub.storage_url}/{one['oid']}"}}
        return Answer({"transfer": "basic", "objects": objects})

    @route("PUT", STORAGE)
    def upload(self, sha256: str) -> Answer:
        """Take a large file, which counts when it is whole."""
        content = bytearray()
        while len(content) < self.length:
            content += (piece := self.rfile.read(min(CHUNK, self.length - len(content))))
            if not piece or (self.hub.break_after is not None and len(content) >= self.hub.break_after):
                raise ConnectionError
        if hashlib.sha256(content).hexdigest() != sha256:
            raise RefusedError(400, "BadDigest: the content is not what its sha256 says")
        self.hub.storage[sha256] = bytes(content)
        return Answer()

    @route("POST", rf"{API}/commit/{REVISION}")
    def commit(self, repository: Repository, revision: str) -> Answer:
        """Change a branch by one commit, or propose that as a pull request."""
        is_new = "create_pr" in self.query
        self._check_write(repository.repo_id, is_new or revision != "main")
        header: dict[str, str] = {}
        changes: dict[str, File | None] = {}
        for operation in map(json.loads, self.body.splitlines()):
            kind, value = operation["key"], operation["value"]
            if kind == "header":
                header = value
            elif kind == "file":
                changes[value["path"]] = File(base64.b64decode(value["content"]))
            elif kind == "lfsFile":
                changes[value["path"]] = File(self.hub.storage[value["oid"]])
            else:
                changes[value["path"]] = None
        if header.get("parentCommit", "") not in ("", repository.find(revision).oid):
            raise RefusedError(412, "A commit has happened since. Please refresh and try again.")
        page, answer = f"{self.hub.endpoint}/{repository.page}", {}
        if is_new:
            repository.proposals.append((str(self.caller), header["summary"]))
            revision = f"refs/pr/{len(repository.proposals)}"
            answer["pullRequestUrl"] = f"{page}/discussions/{len(repository.proposals)}"
        done = repository.commit(revision, header["summary"], changes)
        return Answer({**answer, "commitOid": done.oid, "commitUrl": f"{page}/commit/{done.oid}"})


def environment(hub: HubServer, token: str | None, home: Path) -> dict[str, str]:
    """Environment variables of a client in another process, to be put over those of this one.

    Args:
        token: None for a client that is not logged in.
        home: a folder for its cache; what lies there is found again.
    """
    proxies = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
    offs = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_IMPLICIT_TOKEN")
    # Xet is a storage of the real Hub with a protocol of its own.
    ons = ("HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_UPDATE_CHECK")
    return {
        "HF_ENDPOINT": hub.endpoint,
        "HF_TOKEN": token or "",
        "HUGGING_FACE_HUB_TOKEN": "",
        "HF_HOME": str(home),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_DATASETS_CACHE": str(home / "datasets"),
        **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
        **dict.fromkeys(proxies, ""),
        **dict.fromkeys([*offs, "HF_UPDATE_DOWNLOAD_COUNTS"], "0"),
        **dict.fromkeys([*ons, "HF_HUB_DISABLE_PROGRESS_BARS"], "1"),
    }


def point_client_at(hub: HubServer, monkeypatch: pytest.MonkeyPatch, token: str | None, home: Path) -> None:
    """Let huggingface_hub, transformers and datasets of this process talk to a local Hub until the test ends.

    They read their environment when they are imported, so that what they made of it is replaced. Retries do not wait.

    Args:
        token: None for a client that is not logged in.
        home: a folder for its cache.
    """
    import datasets.config  # before the environment changes, or it would keep this Hub when the test has ended
    import huggingface_hub.file_download
    from huggingface_hub import HfFileSystem, close_session, constants, hf_api
    from huggingface_hub.utils import _http, build_hf_headers

    build_hf_headers()  # asks the Hub for a list once in a process, which is no request of any test
    for name, value in environment(hub, token, home).items():
        monkeypatch.setenv(name, value)
    of_hub = {
        "ENDPOINT": hub.endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_URL_HOSTS": constants.HF_URL_HOSTS | {"127.0.0.1"},
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": False,
    }
    of_datasets = {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HUB_OFFLINE": False,
        "HF_DATASETS_OFFLINE": False,
        "HF_UPDATE_DOWNLOAD_COUNTS": False,
        "USE_PARQUET_EXPORT": False,  # asks a second server of the real Hub
        "HF_DATASETS_CACHE": home / "datasets",
    }
    for module, values in ((constants, of_hub), (datasets.config, of_datasets)):
        for name, value in values.items():
            monkeypatch.setattr(module, name, value)
    origin = ("http", "127.0.0.1", urlsplit(hub.endpoint).port)
    monkeypatch.setattr(_http, "_HUB_ORIGINS", _http._HUB_ORIGINS | {origin})
    monkeypatch.setattr(hf_api.api, "endpoint", hub.endpoint)
    monkeypatch.setattr(hf_api.api, "_whoami_cache", {})
    for module in (_http, huggingface_hub.file_download):
        monkeypatch.setattr(module, "time", SimpleNamespace(sleep=lambda seconds: None))
    monkeypatch.setattr(HfFileSystem, "_cache", {})  # instances remember what they listed
    close_session()  # the client made before kept the proxies of its time
