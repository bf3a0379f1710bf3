"""The features of many recordings as one table, computed by all cores and kept for the next time."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, parallel_config
from tqdm.auto import tqdm

from ser_hf.audio import AudioError, load_audio
from ser_hf.feature_cache import FeatureCache, content_of
from ser_hf.features import FEATURES_VERSION, extract, feature_names

PACKAGES = ("librosa", "numpy", "scipy", "soundfile", "av", "soxr")  # by whose version a feature may differ


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
        groups: names out of `GROUPS`.
        n_jobs: processes, each with a single thread; -1 for one a core.
        cache_dir: folder that keeps the features of each recording for the next time; None keeps nothing.

    Returns:
        One float32 row a recording, in the order of ``sources``; columns are `feature_names(groups)`.

    Raises:
        AudioError: a recording cannot be read.
        MissingPackageError: `egemaps` is asked for and openSMILE is not installed.
    """
    groups = tuple(groups)
    names = feature_names(groups)
    cache = None
    if cache_dir is not None:
        packages = [*PACKAGES, *(["opensmile"] if "egemaps" in groups else [])]
        versions = {name: importlib.metadata.version(name) for name in packages}
        cache = FeatureCache(cache_dir, features_version=FEATURES_VERSION, features=names, **versions)
    rows = [cache and _kept(cache, source, len(names)) for source in sources]
    missing = [index for index, row in enumerate(rows) if row is None]
    with (
        parallel_config("loky", inner_max_num_threads=1),
        tqdm(desc="Extracting features", total=len(sources), unit="clip", disable=not progress) as bar,
    ):
        bar.update(len(sources) - len(missing))
        computed = Parallel(n_jobs, return_as="generator")(delayed(_row)(sources[i], groups, cache) for i in missing)
        for index, row in zip(missing, computed, strict=True):
            rows[index] = row
            bar.update()
    return pd.DataFrame(np.array(rows, dtype=np.float32).reshape(len(sources), len(names)), columns=names)


def _kept(cache: FeatureCache, source: Any, n_features: int) -> np.ndarray | None:
    try:
        row = cache.read(content_of(source))
    except AudioError:  # told when its turn comes: what the recordings before it gave is kept
        return None
    return row if row is not None and row.shape == (n_features,) else None


def _row(source: Any, groups: tuple[str, ...], cache: FeatureCache | None) -> np.ndarray:
    row = extract(load_audio(source), groups)
    if cache is not None:
        cache.write(content_of(source), row)
    return row
