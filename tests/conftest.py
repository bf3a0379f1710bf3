"""Fixtures that every test may use; the environment that every test runs in."""

# ruff: noqa: E402 (the environment is set before anything numerical is imported)
from __future__ import annotations

import os
import tempfile

# Before any numerical library is imported: tests must not reach for the network, and threads of small jobs only spin.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# A cache of compiled code for each of the suite's processes: two that write one cache at the same time can spoil it.
os.environ["NUMBA_CACHE_DIR"] = os.path.join(
    tempfile.gettempdir(), f"ser_hf-numba-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
)

from pathlib import Path

import pytest
from hypothesis import settings

from tests.synthetic import make_ravdess

# The same examples in every run, and no test fails because a machine is slow.
settings.register_profile("tests", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("tests")


@pytest.fixture(scope="session")
def corpus_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder (what ``--data_dir`` names) with a synthetic RAVDESS: 24 actors, 8 clips each, of 3 s at 16 kHz."""
    data_dir = tmp_path_factory.mktemp("data")
    make_ravdess(data_dir / "ravdess")
    return data_dir


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder that $SER_HF_DATA names, with the real corpora in it; without it the test is skipped."""
    folder = os.environ.get("SER_HF_DATA")
    if not folder:
        pytest.skip("needs the real corpora: set SER_HF_DATA=path/to/data")
    path = Path(folder)
    if not (path / "ravdess" / "Actor_01").is_dir():
        pytest.skip(f"SER_HF_DATA={folder} holds no ravdess/Actor_01")
    return path
