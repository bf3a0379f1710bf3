"""Features that were computed once, kept on disk by the content of the recording and the settings."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np


def default_cache_dir() -> Path:
    """Where features are kept: below $SER_HF_CACHE, else below ~/.cache/ser_hf."""
    return Path(os.environ.get("SER_HF_CACHE") or Path.home() / ".cache" / "ser_hf").expanduser() / "features"


class FeatureCache:
    """One small file a recording, which several processes may read and write at the same time.

    Args:
        folder: made when the first row is written.
        settings: whatever else the features depend on; anything that JSON can hold.
    """

    def __init__(self, folder: str | Path, **settings: Any) -> None:
        self.folder = Path(folder)
        self._settings = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).digest()

    def path(self, samples: np.ndarray) -> Path:
        """The file that holds, or would hold, the features of these samples."""
        content = hashlib.sha256(np.ascontiguousarray(samples).data).digest()
        return self.folder / f"{hashlib.sha256(content + self._settings).hexdigest()}.npz"

    def read(self, samples: np.ndarray) -> np.ndarray | None:
        """The features of these samples, or None when they are not there or their file is damaged."""
        try:
            with np.load(self.path(samples)) as arrays:  # a zip file, whose checksum is verified
                return arrays["row"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def write(self, samples: np.ndarray, row: np.ndarray) -> None:
        """Keep features: beside their file first and then renamed, so that nobody ever reads half of them.

        Where nothing can be written, nothing is kept.
        """
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".part", delete=False) as file:
                np.savez(file, row=row)
            os.replace(file.name, self.path(samples))
