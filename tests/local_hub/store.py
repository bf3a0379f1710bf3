"""Repositories as the Hugging Face Hub keeps them, on disk and without HTTP: branches, commits, blobs, pull requests.

A repository is a folder that holds all that is its own::

    ROOT/models/alice/ser-whisper/repo.json         settings, branches, tags, discussions
                                  commits/OID.json  one a commit: parent, author, message, and the entry of every file
                                  objects/OID       regular files by git's id of their content
                                  lfs/SHA256        large files
                                  incoming/         what is being uploaded
"""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.local_hub.git import LFS_DATASET_PATTERNS, LFS_LINE, LFS_PATTERNS, blob_id, git_id, is_lfs_path, tree_ids

REPO_TYPES = ("model", "dataset", "space")


FIRST_SPACE_CARD = """---
title: {name}
emoji: 🚀
colorFrom: blue
colorTo: green
sdk: {sdk}
pinned: false
---

Check out the configuration reference at https://huggingface.co/docs/hub/spaces-config-reference
"""


class RefusedError(Exception):
    """What a client is told instead of an answer: HTTP status, words, and the Hub's own code of the error."""

    def __init__(self, status: int, message: str, code: str | None = None, commit: str | None = None):
        super().__init__(message)
        self.status, self.message, self.code, self.commit = status, message, code, commit


def now() -> str:
    """The time as the Hub writes it: UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, whole or not at all."""
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    partial.write_text(json.dumps(value, indent=1), encoding="utf-8")
    os.replace(partial, path)


class Repository:
    """One repository; whoever changes it holds its ``lock``."""

    def __init__(self, folder: Path, repo_type: str, repo_id: str):
        self.folder, self.repo_type, self.repo_id = folder, repo_type, repo_id
        self.lock = threading.RLock()
        self.state: dict[str, Any] = {}
        if (folder / "repo.json").exists():
            self.state = json.loads((folder / "repo.json").read_text(encoding="utf-8"))

    @property
    def incoming(self) -> Path:
        """Where uploads lie until they are whole."""
        return self.folder / "incoming"

    def start(self, **state: Any) -> None:
        """Make the folder of a new repository, with these settings and no commit."""
        for name in ("commits", "objects", "lfs", "incoming"):
            (self.folder / name).mkdir(parents=True)
        self.state = {"gated": False, "created": now(), "refs": {}, "discussions": [], "variables": {}, "secrets": {}}
        self.update(**state)

    def update(self, **state: Any) -> None:
        """Change settings and save all of them."""
        with self.lock:
            self.state |= state
            write_json(self.folder / "repo.json", self.state)

    def find(self, revision: str) -> str:
        """The commit of a branch, tag, pull request (``refs/pr/1``) or (abbreviated) commit."""
        refs = self.state["refs"]
        for name in (revision, f"refs/heads/{revision}", f"refs/tags/{revision}"):
            if name in refs:
                return refs[name]
        if re.fullmatch(r"[0-9a-f]{7,40}", revision):
            matches = list((self.folder / "commits").glob(f"{revision}*.json"))
            if len(matches) == 1:
                return matches[0].stem
        raise RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def commit(self, revision: str) -> dict[str, Any]:
        """The record of a commit: oid, tree, parent, title, message, author, date and files."""
        return json.loads((self.folder / "commits" / f"{self.find(revision)}.json").read_text(encoding="utf-8"))

    def history(self, revision: str) -> list[dict[str, Any]]:
        """A commit and all before it, the newest first."""
        commits = [self.commit(revision)]
        while commits[-1]["parent"]:
            commits.append(self.commit(commits[-1]["parent"]))
        return commits

    def path(self, entry: dict[str, Any]) -> Path:
        """The file on disk that holds the content of a file of a commit."""
        return self.folder / "lfs" / entry["lfs"] if "lfs" in entry else self.folder / "objects" / entry["oid"]

    def text(self, revision: str, path: str) -> str:
        """A small file as text; empty where there is none."""
        entry = self.commit(revision)["files"].get(path)
        return self.path(entry).read_text(encoding="utf-8", errors="replace") if entry else ""

    def add_object(self, content: bytes) -> dict[str, Any]:
        """Keep a regular file; the answer is its entry in a commit."""
        entry = {"oid": blob_id(content), "size": len(content)}
        if not self.path(entry).exists():
            partial = self.incoming / uuid.uuid4().hex
            partial.write_bytes(content)
            os.replace(partial, self.path(entry))
        return entry

    def large_size(self, sha256: str) -> int | None:
        """Bytes of a large file that has arrived whole, else None."""
        path = self.folder / "lfs" / sha256
        return path.stat().st_size if path.exists() else None

    def make_commit(
        self, parent: str | None, changes: Iterable[tuple[str, str, Any]], title: str, message: str, author: str
    ) -> str:
        """Write a commit that no branch names yet.

        Args:
            parent: the commit that is changed.
            changes: in order, ``("add", path, entry)``, ``("delete", path, None)``, ``("delete_folder", path, None)``.

        Returns:
            Its id: git's of a commit with this tree, parent, author, time and message.
        """
        files = dict(self.commit(parent)["files"]) if parent else {}
        for kind, path, entry in changes:
            if kind == "add":
                files[path] = entry
                continue
            gone = [name for name in files if name == path or (kind == "delete_folder" and name.startswith(f"{path}/"))]
            if not gone:
                raise RefusedError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
            for name in gone:
                del files[name]
        files = dict(sorted(self._with_attributes(files).items()))
        date, tree = now(), tree_ids(files)[""]
        seconds = int(datetime.fromisoformat(date).timestamp())
        who = f"{author} <{author}@users.noreply.huggingface.co> {seconds} +0000"
        above = f"parent {parent}\n" if parent else ""
        body = "\n\n".join(filter(None, (title, message)))
        oid = git_id("commit", f"tree {tree}\n{above}author {who}\ncommitter {who}\n\n{body}\n".encode())
        record = {"oid": oid, "tree": tree, "parent": parent, "title": title, "message": message, "author": author}
        write_json(self.folder / "commits" / f"{oid}.json", {**record, "date": date, "files": files})
        return oid

    def _with_attributes(self, files: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """The Hub notes in .gitattributes every large file that no pattern there covers."""
        old = files.get(".gitattributes")
        attributes = self.path(old).read_text(encoding="utf-8") if old else ""
        missing = [path for path, entry in files.items() if "lfs" in entry and not is_lfs_path(path, attributes)]
        if not missing:
            return files
        lines = [f"{path.replace(' ', '[[:space:]]')} {LFS_LINE}\n" for path in sorted(missing)]
        text = attributes + "\n" * bool(attributes and not attributes.endswith("\n")) + "".join(lines)
        return {**files, ".gitattributes": self.add_object(text.encode())}


class HubStore:
    """All repositories below a folder; what was there before is there again."""

    def __init__(self, root: Path):
        self.root = Path(root)
        self.root.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._open: dict[tuple[str, str], Repository] = {}

    def get(self, repo_type: str, repo_id: str) -> Repository:
        """A repository; a refusal (404) without it."""
        with self._lock:
            return self._get(repo_type, repo_id)

    def _get(self, repo_type: str, repo_id: str) -> Repository:
        key, folder = (repo_type, repo_id), self.root / f"{repo_type}s" / repo_id
        if not (folder / "repo.json").exists():
            self._open.pop(key, None)
            raise RefusedError(404, "Repository not found", "RepoNotFound")
        if key not in self._open:
            self._open[key] = Repository(folder, repo_type, repo_id)
        return self._open[key]

    def all(self, repo_type: str) -> list[Repository]:
        """The repositories of a type, by name."""
        folders = sorted(path.parent for path in (self.root / f"{repo_type}s").glob("*/*/repo.json"))
        return [self.get(repo_type, f"{folder.parent.name}/{folder.name}") for folder in folders]

    def create(
        self, repo_type: str, repo_id: str, author: str, private: bool = False, sdk: str | None = None
    ) -> Repository:
        """A new repository with the Hub's first commit: .gitattributes and, for a Space, README.md."""
        with self._lock:
            repository = Repository(self.root / f"{repo_type}s" / repo_id, repo_type, repo_id)
            if repository.state:
                raise RefusedError(409, f"You already created this {repo_type} repo")
            repository.start(private=private, sdk=sdk)
            patterns = [*LFS_PATTERNS.split(), *(LFS_DATASET_PATTERNS.split() if repo_type == "dataset" else [])]
            files = {".gitattributes": "".join(f"{pattern} {LFS_LINE}\n" for pattern in patterns)}
            if repo_type == "space":
                name = repo_id.split("/")[1]
                files["README.md"] = FIRST_SPACE_CARD.format(name=name, sdk=sdk)
            changes = [("add", path, repository.add_object(text.encode())) for path, text in files.items()]
            oid = repository.make_commit(None, changes, "initial commit", "", author)
            repository.update(refs={"refs/heads/main": oid})
            return self._get(repo_type, repo_id)

    def exists(self, repo_type: str, repo_id: str) -> bool:
        """Whether there is such a repository."""
        return (self.root / f"{repo_type}s" / repo_id / "repo.json").exists()

    def commits(self, repo_type: str, repo_id: str, revision: str = "main") -> list[dict[str, Any]]:
        """The commits of a branch, the newest first: oid, message (title), description, author, date, parent."""
        keys = {"oid": "oid", "message": "title", "description": "message", "author": "author", "date": "date"}
        history = self.get(repo_type, repo_id).history(revision)
        return [{key: commit[name] for key, name in keys.items()} | {"parent": commit["parent"]} for commit in history]

    def files(self, repo_type: str, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        """The content of every file of a commit, .gitattributes too, by path."""
        repository = self.get(repo_type, repo_id)
        entries = repository.commit(revision)["files"]
        return {path: repository.path(entry).read_bytes() for path, entry in entries.items()}

    def set_gated(self, repo_type: str, repo_id: str, gated: str | bool = "manual") -> None:
        """Let others read the files only after they were let in ("auto", "manual"), or open them to all (False)."""
        self.get(repo_type, repo_id).update(gated=gated)

    def set_private(self, repo_type: str, repo_id: str, private: bool = True) -> None:
        """Show a repository to its owner alone, or to all."""
        self.get(repo_type, repo_id).update(private=private)

    def delete(self, repo_type: str, repo_id: str) -> None:
        """Delete a repository with all its commits and files."""
        repository = self.get(repo_type, repo_id)
        with self._lock, repository.lock:
            self._open.pop((repo_type, repo_id), None)
            shutil.rmtree(repository.folder)
