"""What git and git-lfs say of files: ids, pointers, and which files are large, binary or ignored."""

from __future__ import annotations

import fnmatch
import hashlib
from typing import Any

REGULAR_LIMIT = 10 * 1024 * 1024  # bytes of a file that the Hub takes without LFS
LFS_LINE = "filter=lfs diff=lfs merge=lfs -text"
# The patterns that the Hub writes into a new repository, and those that it adds for a dataset.
LFS_PATTERNS = (  # between spaces
    "*.7z *.arrow *.bin *.bz2 *.ckpt *.ftz *.gz *.h5 *.joblib *.lfs.* *.mlmodel *.model *.msgpack *.npy *.npz *.onnx "
    "*.ot *.parquet *.pb *.pickle *.pkl *.pt *.pth *.rar *.safetensors saved_model/**/* *.tar.* *.tar *.tflite *.tgz "
    "*.wasm *.xz *.zip *.zst *tfevents*"
)
LFS_DATASET_PATTERNS = (
    "*.pcm *.sam *.raw *.aac *.flac *.mp3 *.ogg *.wav *.bmp *.gif *.png *.tiff *.jpg *.jpeg *.webp *.mp4 *.webm"
)


def git_id(kind: str, content: bytes) -> str:
    """Git's id of an object of a kind: blob, tree or commit."""
    return hashlib.sha1(f"{kind} {len(content)}\0".encode() + content).hexdigest()


def blob_id(content: bytes) -> str:
    """Git's id of a file with this content: 40 hexadecimal digits."""
    return git_id("blob", content)


def lfs_pointer(sha256: str, size: int) -> bytes:
    """The text that git holds in place of a large file."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def lfs_entry(sha256: str, size: int) -> dict[str, Any]:
    """What a commit says of a large file; its ``oid`` is that of the pointer, as in git."""
    return {"oid": blob_id(lfs_pointer(sha256, size)), "size": size, "lfs": sha256}


def tree_ids(files: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Git's id of every folder of a commit, by path; the root is ``""``."""
    children: dict[str, dict[str, tuple[str, str]]] = {"": {}}
    for path, entry in files.items():
        folder, _, name = path.rpartition("/")
        children.setdefault(folder, {})[name] = ("100644", entry["oid"])
        while folder:
            folder = folder.rpartition("/")[0]
            children.setdefault(folder, {})
    ids: dict[str, str] = {}
    for folder in sorted(children, key=lambda path: (-path.count("/") - bool(path), path)):
        # Git sorts a folder as if its name ended in a slash.
        items = sorted(children[folder].items(), key=lambda item: item[0] + "/" * (item[1][0] == "40000"))
        content = b"".join(f"{mode} {name}\0".encode() + bytes.fromhex(oid) for name, (mode, oid) in items)
        ids[folder] = git_id("tree", content)
        if folder:
            parent, _, name = folder.rpartition("/")
            children[parent][name] = ("40000", ids[folder])
    return ids


def is_lfs_path(path: str, attributes: str) -> bool:
    """Whether a ``.gitattributes`` file gives a path to LFS; the last line that matches counts."""
    answer = False
    for line in attributes.splitlines():
        pattern, *words = line.split() or ["#"]
        pattern = pattern.replace("[[:space:]]", " ")
        filters = [word for word in words if "filter" in word]
        if not pattern.startswith("#") and filters and _matches(path, pattern):
            answer = filters[-1] == "filter=lfs"
    return answer


def is_ignored(path: str, ignored: str) -> bool:
    """Whether a ``.gitignore`` file leaves a path out: names, folders, ``*`` and ``!``."""
    answer = False
    for line in ignored.splitlines():
        pattern = line.strip().removeprefix("!").strip("/")
        if pattern and not line.startswith("#"):
            parents = ["/".join(path.split("/")[:end]) for end in range(1, path.count("/") + 2)]
            if any(_matches(parent, pattern) for parent in parents):
                answer = not line.startswith("!")
    return answer


def is_binary(sample: bytes) -> bool:
    """Whether the beginning of a file is no text: it holds a zero byte or is no UTF-8."""
    if b"\0" in sample:
        return True
    try:
        sample.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start < len(sample) - 3  # else the sample may end within a character
    return False


def _matches(path: str, pattern: str) -> bool:
    if "/" not in pattern:
        return fnmatch.fnmatchcase(path.rpartition("/")[2], pattern)
    pattern = pattern.removeprefix("/")
    return fnmatch.fnmatchcase(path, pattern) or fnmatch.fnmatchcase(path, pattern.replace("**/", ""))
