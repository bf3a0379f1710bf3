"""What the local Hub tells of a repository, its files and its folders."""

from __future__ import annotations

import json
from typing import Any

from tests.local_hub.cards import as_list, read_card
from tests.local_hub.git import lfs_pointer, tree_ids
from tests.local_hub.store import Repository


def info(repository: Repository, revision: str, blobs: bool = False) -> dict[str, Any]:
    """What the API tells of a repository at a revision."""
    commit, history = repository.commit(revision), repository.state
    try:
        card = json.loads(json.dumps(read_card(repository.text(revision, "README.md")), default=str))
    except ValueError:
        card = {}
    siblings: list[dict[str, Any]] = [{"rfilename": path} for path in commit["files"]]
    if blobs:
        for sibling, entry in zip(siblings, commit["files"].values(), strict=True):
            sibling |= {"size": entry["size"], "blobId": entry["oid"]}
            if "lfs" in entry:
                sibling["lfs"] = {"sha256": entry["lfs"], "size": entry["size"], "pointerSize": _pointer_size(entry)}
    found = {
        "_id": repository.repo_id,
        "id": repository.repo_id,
        "author": repository.repo_id.split("/")[0],
        "sha": commit["oid"],
        "createdAt": history["created"],
        "lastModified": commit["date"],
        "private": history["private"],
        "gated": history["gated"],
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": _tags(card),
        "cardData": card,
        "siblings": siblings,
        "usedStorage": sum(entry["size"] for entry in commit["files"].values()),
    }
    if repository.repo_type == "model":
        found |= {"modelId": repository.repo_id, "spaces": [], "config": _config(repository, revision)}
        found |= {key: card[key] for key in ("pipeline_tag", "library_name", "model-index") if key in card}
    if repository.repo_type == "space":
        found |= {"sdk": card.get("sdk") or history["sdk"], "models": card.get("models", [])}
    return found


def entries(commit: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Files and folders of a commit as the API lists them, by path; folders first."""
    folders = {
        path: {"type": "directory", "oid": oid, "size": 0, "path": path}
        for path, oid in sorted(tree_ids(commit["files"]).items())
        if path
    }
    files = {}
    for path, entry in commit["files"].items():
        files[path] = {"type": "file", "oid": entry["oid"], "size": entry["size"], "path": path}
        if "lfs" in entry:
            files[path]["lfs"] = {"oid": entry["lfs"], "size": entry["size"], "pointerSize": _pointer_size(entry)}
    return {**folders, **files}


def expanded(repository: Repository, commit: dict[str, Any], found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries with the last commit that changed them, and the state of the scan for malware."""
    history = [(one, entries(one)) for one in repository.history(commit["oid"])]
    for entry in found:
        oids = [listed.get(entry["path"], {}).get("oid") for _, listed in history]
        last = next((place for place, oid in enumerate(oids) if oid != entry["oid"]), len(oids)) - 1
        changed = history[last][0]
        entry["lastCommit"] = {"id": changed["oid"], "title": changed["title"], "date": changed["date"]}
        if entry["type"] == "file":
            entry["securityFileStatus"] = {"status": "safe", "avScan": None, "pickleImportScan": None}
    return found


def _pointer_size(entry: dict[str, Any]) -> int:
    return len(lfs_pointer(entry["lfs"], entry["size"]))


def _tags(card: dict[str, Any]) -> list[str]:
    tags = [str(tag) for tag in as_list(card.get("tags"))]
    tags += [str(card[key]) for key in ("library_name", "pipeline_tag") if key in card]
    for key, prefix in (
        ("license", "license:"),
        ("base_model", "base_model:"),
        ("datasets", "dataset:"),
        ("language", ""),
    ):
        tags += [f"{prefix}{value}" for value in as_list(card.get(key))]
    return list(dict.fromkeys(tags))


def _config(repository: Repository, revision: str) -> dict[str, Any]:
    try:
        config = json.loads(repository.text(revision, "config.json") or "{}")
    except ValueError:
        return {}
    return {key: config[key] for key in ("architectures", "model_type") if key in config}
