"""Features of many recordings as one table, extracted in parallel and cached on disk."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, parallel_config
from tqdm.auto import tqdm

from ser_hf.audio import READING_VERSION, check_path, load_audio
from ser_hf.features import FEATURES_VERSION, extract, feature_names
from ser_hf.utils.files import cache_folder, replacing

PACKAGES = ("librosa", "numpy", "scipy", "soundfile", "av", "soxr")  # whose versions may change a feature


def default_cache_dir() -> Path:
    """Where features are kept (see `cache_folder`)."""
    return cache_folder("features")


def extract_table(
    sources: Sequence[Any],
    groups: Iterable[str],
    n_jobs: int = -1,
    cache_dir: str | Path | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """The features of many recordings, computed in parallel.

    Args:
        sources: whatever `ser_hf.audio.read_audio` takes, such as the ``audio`` column of a clip table.
        groups: names out of `ser_hf.features.GROUPS`.
        n_jobs: processes, each with a single thread; -1 for one per core.
        cache_dir: folder of one small file per recording, which several processes may use; None keeps nothing.

    Returns:
        One float32 row per recording, in the order of ``sources``; columns are `feature_names(groups)`.

    Raises:
        AudioError: a recording cannot be read.
        MissingPackageError: `egemaps` is named and openSMILE is not installed.
    """
    groups = tuple(groups)
    names = feature_names(groups)
    paths: list[Path | None] = [None] * len(sources)
    if cache_dir is not None:
        packages = [*PACKAGES, *(["opensmile"] if "egemaps" in groups else [])]
        versions = {name: importlib.metadata.version(name) for name in packages}
        made_by = [READING_VERSION, FEATURES_VERSION]
        settings = json.dumps({"versions": made_by, "features": names, **versions}, sort_keys=True)
        paths = [Path(cache_dir) / f"{_key(source, settings)}.npz" for source in sources]
    rows = [path and _cached(path) for path in paths]
    missing = [index for index, row in enumerate(rows) if row is None]
    with (
        parallel_config("loky", inner_max_num_threads=1),
        tqdm(desc="Extracting features", total=len(sources), unit="clip", disable=not progress) as bar,
    ):
        bar.update(len(sources) - len(missing))
        calls = (delayed(_row)(sources[index], groups, paths[index]) for index in missing)
        for index, row in zip(missing, Parallel(n_jobs, return_as="generator")(calls), strict=True):
            rows[index] = row
            bar.update()
    return pd.DataFrame(np.array(rows, dtype=np.float32).reshape(len(sources), len(names)), columns=names)


def _row(source: Any, groups: tuple[str, ...], path: Path | None) -> np.ndarray:
    row = extract(load_audio(source), groups)
    if path is not None:
        # What cannot be written is computed again the next time.
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as part, part.open("wb") as file:
                np.savez(file, row=row)
    return row


def _cached(path: Path) -> np.ndarray | None:
    """The cached row, or None where there is none or its file is damaged."""
    try:
        with np.load(path) as arrays:  # a zip file, whose checksum is verified
            return arrays["row"]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def _key(source: Any, settings: str) -> str:
    digests = hashlib.sha256(_content_of(source)).digest() + hashlib.sha256(settings.encode()).digest()
    return hashlib.sha256(digests).hexdigest()


def _content_of(source: Any) -> bytes:
    """The bytes of a recording's file, which need not be decoded, or of its samples if it has no file."""
    if isinstance(source, dict) and not any(source.get(key) is not None for key in ("array", "raw")):
        source = source.get("path") if source.get("bytes") is None else source["bytes"]
    if isinstance(source, (str, Path)):
        check_path(source)
        return Path(source).read_bytes()
    return bytes(source) if isinstance(source, (bytes, bytearray)) else load_audio(source).tobytes()
