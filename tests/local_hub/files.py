"""Files of the local Hub: how they are read, and how large ones arrive (git-lfs: basic and multipart uploads)."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import uuid
from math import ceil
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.local_hub.access import Access
from tests.local_hub.faults import Faults
from tests.local_hub.http import parameter, routed
from tests.local_hub.store import RefusedError, Repository

CHUNK = 1 << 20
STORAGE = "/storage/{kind:kind}/{namespace}/{name}"


class Files:
    """What is answered on the content of files.

    Args:
        storage: the address of the server under another name, as the Hub's storage is another host: clients must send
            no token there, and the address itself says who may read or write.
        part_size: bytes above which a file is uploaded in parts, and of one part.
    """

    def __init__(self, access: Access, storage: str, part_size: int, faults: Faults):
        self.access, self.storage, self.part_size, self.faults = access, storage, part_size, faults
        self.secret = secrets.token_bytes()

    # Reading

    def resolve(self, request: Request, body: bytes) -> Response:
        """A regular file, or the way to a large one."""
        request.path_params.setdefault("kind", "models")
        repository = self.access.open(request)
        revision, path = parameter(request, "revision"), parameter(request, "path")
        commit = repository.commit(revision)
        entry = commit["files"].get(path)
        if entry is None:
            raise RefusedError(404, "Entry not found", "EntryNotFound", commit["oid"])
        name = path.rpartition("/")[2]
        headers = {
            "X-Repo-Commit": commit["oid"],
            "ETag": f'"{entry.get("lfs", entry["oid"])}"',
            "Content-Disposition": f"inline; filename*=UTF-8''{quote(name)}; filename=\"{quote(name)}\";",
        }
        if "lfs" not in entry:
            return FileResponse(repository.path(entry), headers=headers, media_type="text/plain; charset=utf-8")
        headers |= {"X-Linked-ETag": headers["ETag"], "X-Linked-Size": str(entry["size"]), "Accept-Ranges": "bytes"}
        return RedirectResponse(self._signed(repository, "get", entry["lfs"]), 302, headers)

    def download(self, request: Request, body: bytes) -> Response:
        """A large file, by a signed address."""
        repository, sha256 = self._stored(request), request.path_params["sha256"]
        headers = {"ETag": f'"{sha256}"'}
        return FileResponse(repository.path({"lfs": sha256}), headers=headers, media_type="application/octet-stream")

    # Uploading

    def batch(self, request: Request, body: bytes) -> Response:
        """Where to send which large files; those that have arrived before need not be sent."""
        request.path_params.setdefault("kind", "models")
        repository, _ = self.access.writable(request, proposal=True)
        asked = json.loads(body)
        objects = [self._instructions(repository, item["oid"], item["size"], request) for item in asked["objects"]]
        transfer = "multipart" if any("chunk_size" in str(item) for item in objects) else "basic"
        return JSONResponse({"transfer": transfer, "objects": objects, "hash_algo": "sha256"})

    def _instructions(self, repository: Repository, sha256: str, size: int, request: Request) -> dict[str, Any]:
        answer: dict[str, Any] = {"oid": sha256, "size": size}
        if not re.fullmatch("[0-9a-f]{64}", sha256):
            return {**answer, "error": {"code": 422, "message": "oid is no sha256"}}
        if repository.large_size(sha256) == size:
            return answer
        upload: dict[str, Any] = {"href": self._signed(repository, "put", sha256, size, 0)}
        if size > self.part_size:
            parts = range(1, ceil(size / self.part_size) + 1)
            addresses = {str(part): self._signed(repository, "put", sha256, size, part) for part in parts}
            upload = {
                "href": self._signed(repository, "complete", sha256, size),
                "header": {"chunk_size": str(self.part_size), **addresses},
            }
        verify = self.access.endpoint + request.url.path.removesuffix("/batch") + "/verify"
        return {**answer, "authenticated": True, "actions": {"upload": upload, "verify": {"href": verify}}}

    async def upload(self, request: Request) -> Response:
        """Take a large file or a part of one; it counts when it is whole and is what it was said to be."""
        repository, values = self._stored(request), request.path_params
        partial = repository.incoming / uuid.uuid4().hex
        digest, received = hashlib.sha256(), 0
        try:
            await self.faults.before_upload()
            with partial.open("wb") as file:
                async for chunk in request.stream():
                    self.faults.during_upload(request, received + len(chunk))
                    file.write(chunk)
                    digest.update(chunk)
                    received += len(chunk)
            if values["part"]:
                os.replace(partial, _part(repository, values["sha256"], values["part"], digest.hexdigest()))
            elif (digest.hexdigest(), received) != (values["sha256"], values["size"]):
                return Response("BadDigest: the content is not what its sha256 and size say", 400)
            else:
                os.replace(partial, repository.path({"lfs": values["sha256"]}))
            return Response(headers={"ETag": f'"{digest.hexdigest()}"'})
        finally:
            partial.unlink(missing_ok=True)

    def complete(self, request: Request, body: bytes) -> Response:
        """Join the parts of a large file."""
        repository, values = self._stored(request), request.path_params
        sha256, partial = values["sha256"], repository.incoming / uuid.uuid4().hex
        asked = sorted(json.loads(body)["parts"], key=lambda part: part["partNumber"])
        parts = [_part(repository, sha256, part["partNumber"], part["etag"].strip('"')) for part in asked]
        if not all(part.exists() for part in parts):
            raise RefusedError(400, "InvalidPart: a part is missing or has another ETag")
        digest = hashlib.sha256()
        with partial.open("wb") as whole:
            for part in parts:
                with part.open("rb") as file:
                    while chunk := file.read(CHUNK):
                        whole.write(chunk)
                        digest.update(chunk)
        if (digest.hexdigest(), partial.stat().st_size) != (sha256, values["size"]):
            partial.unlink()
            raise RefusedError(400, "BadDigest: the parts together are not what their sha256 and size say")
        os.replace(partial, repository.path({"lfs": sha256}))
        for part in parts:
            part.unlink()
        return JSONResponse({"success": True})

    def verify(self, request: Request, body: bytes) -> Response:
        """Say whether a large file has arrived."""
        request.path_params.setdefault("kind", "models")
        repository, _ = self.access.writable(request, proposal=True)
        asked = json.loads(body)
        if repository.large_size(asked["oid"]) != asked["size"]:
            raise RefusedError(404, "The file has not arrived whole")
        return JSONResponse({"success": True})

    def _signed(self, repository: Repository, action: str, *values: Any) -> str:
        path = "/".join(["/storage", f"{repository.repo_type}s", repository.repo_id, action, *map(str, values)])
        return f"{self.storage}{path}?signature={self._signature(path)}"

    def _signature(self, path: str) -> str:
        return hmac.new(self.secret, path.encode(), "sha256").hexdigest()

    def _stored(self, request: Request) -> Repository:
        if not hmac.compare_digest(self._signature(request.url.path), request.query_params.get("signature", "")):
            raise RefusedError(403, "SignatureDoesNotMatch")
        values = request.path_params
        return self.access.store.get(values["kind"][:-1], f"{values['namespace']}/{values['name']}")

    def routes(self) -> list[Route]:
        """Every address that reads or takes the content of files."""
        routes = [
            routed(f"{STORAGE}/get/{{sha256}}", self.download),
            Route(f"{STORAGE}/put/{{sha256}}/{{size:int}}/{{part:int}}", self.upload, methods=["PUT"]),
            routed(f"{STORAGE}/complete/{{sha256}}/{{size:int}}", self.complete, "POST"),
        ]
        for prefix in ("/{kind:kind}", ""):
            repository = f"{prefix}/{{namespace}}/{{name}}"
            routes += [
                routed(f"{repository}.git/info/lfs/objects/batch", self.batch, "POST"),
                routed(f"{repository}.git/info/lfs/objects/verify", self.verify, "POST"),
                routed(f"{repository}/resolve/{{revision}}/{{path:path}}", self.resolve),
            ]
        return routes


def _part(repository: Repository, sha256: str, number: int, digest: str) -> Path:
    return repository.incoming / f"{sha256}.{number}.{digest if digest.isalnum() else ''}"
