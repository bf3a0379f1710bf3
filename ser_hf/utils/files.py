"""Files that are whole or not there: each is written beside its place and renamed at the end."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PART = ".part"  # behind the name of a file that is being written


def cache_folder(name: str) -> Path:
    """A folder of the cache: below $SER_HF_CACHE, else below ~/.cache/ser_hf."""
    return Path(os.environ.get("SER_HF_CACHE") or Path.home() / ".cache" / "ser_hf").expanduser() / name


@contextlib.contextmanager
def replacing(path: str | Path, shared: bool = False) -> Iterator[Path]:
    """A file beside ``path`` that takes its place at the end, so that a reader never meets half a file.

    Args:
        shared: other processes or threads may write the same path meanwhile.
    """
    path = Path(path)
    writer = f".{os.getpid()}-{threading.get_ident()}" if shared else ""
    part = path.with_name(f"{path.name}{writer}{PART}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(folder: str | Path) -> Iterator[Path]:
    """A new folder beside ``folder`` that takes its place at the end, when it is whole."""
    folder = Path(folder)
    part = folder.with_name(folder.name + PART)
    if part.exists():
        shutil.rmtree(part)
    part.mkdir(parents=True)
    yield part
    if folder.exists():
        shutil.rmtree(folder)
    part.rename(folder)


def write_text(path: str | Path, text: str) -> None:
    """Write a text in UTF-8 beside the file and rename it; its folder is made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: str | Path, data: Any) -> None:
    """Write JSON beside the file and rename it; NaN is refused."""
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False, default=_plain)
    with replacing(path) as part:
        part.write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)  # of NumPy, which need not be imported here
