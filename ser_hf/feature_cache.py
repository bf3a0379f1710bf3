"""Features that were computed once, kept on disk by the content of the recording and the settings."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ser_hf.audio import load_audio
from ser_hf.decoding import check_path
from ser_hf.files import replacing


def default_cache_dir() -> Path:
    """Where features are kept: below $SER_HF_CACHE, else below ~/.cache/ser_hf."""
    return Path(os.environ.get("SER_HF_CACHE") or Path.home() / ".cache" / "ser_hf").expanduser() / "features"


def content_of(source: Any) -> bytes | np.ndarray:
    """What tells a recording from all others: its file as it is, which need not be decoded; without one, its samples.

    Args:
        source: whatever `ser_hf.audio.read_audio` takes.

    Raises:
        AudioError: there is no such file, or it cannot be read.
    """
    if isinstance(source, dict) and not any(source.get(key) is not None for key in ("array", "raw")):
        source = source.get("path") if source.get("bytes") is None else source["bytes"]
    if isinstance(source, (str, Path)):
        check_path(source)
        return Path(source).read_bytes()
    return bytes(source) if isinstance(source, (bytes, bytearray)) else load_audio(source)


class FeatureCache:
    """One small file a recording, which several processes may read and write at the same time.

    Args:
        folder: made when the first row is written.
        settings: whatever else the features depend on; anything that JSON can hold.
    """

    def __init__(self, folder: str | Path, **settings: Any) -> None:
        self.folder = Path(folder)
        self._settings = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).digest()

    def path(self, content: bytes | np.ndarray) -> Path:
        """The file that holds, or would hold, the features of a recording of this content (see `content_of`)."""
        digest = hashlib.sha256(np.ascontiguousarray(content).data if isinstance(content, np.ndarray) else content)
        return self.folder / f"{hashlib.sha256(digest.digest() + self._settings).hexdigest()}.npz"

    def read(self, content: bytes | np.ndarray) -> np.ndarray | None:
        """The features of this content, or None when they are not there or their file is damaged."""
        try:
            with np.load(self.path(content)) as arrays:  # a zip file, whose checksum is verified
                return arrays["row"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def write(self, content: bytes | np.ndarray, row: np.ndarray) -> None:
        """Keep features: beside their file first and then renamed, so that nobody ever reads half of them.

        Where nothing can be written, nothing is kept.
        """
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(self.path(content), shared=True) as part, open(part, "wb") as file:
                np.savez(file, row=row)
