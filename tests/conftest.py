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
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
os.environ["NUMBA_CACHE_DIR"] = os.path.join(tempfile.gettempdir(), f"ser_hf-numba-{WORKER}")
# One of features and states, which holds nothing of an earlier run.
os.environ["SER_HF_CACHE"] = tempfile.mkdtemp(prefix=f"ser_hf-cache-{WORKER}-")
# And one of uploads: two pages would keep the same recording in one file, and the first to end deletes it.
os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix=f"ser_hf-gradio-{WORKER}-")

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings

from tests.synthetic import make_clip, make_ravdess

if TYPE_CHECKING:
    from tests.local_hub import HubServer

# The same examples in every run, and no test fails because a machine is slow.
settings.register_profile("tests", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("tests")


@pytest.fixture(scope="session", autouse=True)
def undrawn() -> Iterator[None]:
    """Figures are made but not drawn, which takes half a second for each; tests/test_plots.py draws them."""
    from ser_hf.evaluation import plots

    def save(figure: object, path: str | Path) -> Path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(b"\x89PNG\0")
        return Path(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "save", save)
        yield


@pytest.fixture(scope="session")
def corpus_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder (what ``--data_dir`` names) with a synthetic RAVDESS: 24 actors, 8 clips each, of 3 s at 16 kHz."""
    data_dir = tmp_path_factory.mktemp("data")
    make_ravdess(data_dir / "ravdess")
    return data_dir


@pytest.fixture(scope="session")
def tiny_whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `save_tiny_whisper`, which no test may change."""
    from tests.tiny_models import save_tiny_whisper

    return save_tiny_whisper(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tiny_svm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `save_tiny_svm`, which no test may change."""
    from tests.tiny_models import save_tiny_svm

    return save_tiny_svm(tmp_path_factory.mktemp("models") / "tiny-svm")


@pytest.fixture
def clip() -> np.ndarray:
    """Three seconds of synthetic speech at 16 kHz."""
    return make_clip("happy", actor=3)


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


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A local Hub, with this process's client logged in there as alice; bob has an account, too."""
    from tests.local_hub import HubServer, point_client_at

    with HubServer() as server:
        point_client_at(server, monkeypatch, server.token("alice"), tmp_path / "home")
        yield server


@pytest.fixture
def as_user(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], None]:
    """A function that logs this process in as somebody else, with a cache of their own; None is not logged in."""
    from tests.local_hub import point_client_at

    def become(name: str | None) -> None:
        point_client_at(hub, monkeypatch, name and hub.token(name), tmp_path / f"home-of-{name}")

    return become
