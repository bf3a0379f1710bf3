"""A served page with tiny models, and the recordings that the tests send to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

from app.analysis import Analyser
from app.app import launch
from app.page import build
from ser_hf.audio import SAMPLE_RATE
from ser_hf.classifier import EmotionClassifier
from tests.app.browser import free_port
from tests.app.http_requests import client_of
from tests.synthetic import make_clip
from tests.tiny_models import save_tiny_svm, save_tiny_whisper


@pytest.fixture(scope="session")
def model_folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    models = tmp_path_factory.mktemp("models")
    return save_tiny_whisper(models / "tiny-model"), save_tiny_svm(models / "tiny-baseline")


@pytest.fixture(scope="session")
def analyser(model_folders: tuple[Path, Path]) -> Analyser:
    return Analyser(*map(EmotionClassifier.from_pretrained, model_folders))


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """clip.wav, long.flac (29 s with a silent stretch), silence.wav, short.wav, bad.wav, empty.wav."""
    folder = tmp_path_factory.mktemp("recordings")
    voices = [make_clip(emotion, seconds=4) for emotion in ("happy", "sad", "angry", "neutral")]
    long = np.concatenate([*voices, np.zeros(9 * SAMPLE_RATE), make_clip("calm", seconds=4)])
    soundfile.write(folder / "clip.wav", make_clip("happy"), SAMPLE_RATE)
    soundfile.write(folder / "long.flac", long, SAMPLE_RATE)
    soundfile.write(folder / "silence.wav", np.zeros(2 * SAMPLE_RATE), SAMPLE_RATE)
    soundfile.write(folder / "short.wav", make_clip("happy")[SAMPLE_RATE:][:800], SAMPLE_RATE)
    (folder / "bad.wav").write_text("this is no sound")
    (folder / "empty.wav").write_bytes(b"")
    return folder


@pytest.fixture(scope="session")
def address(analyser: Analyser) -> Iterator[str]:
    page = build(lambda: analyser, analyser.limits)
    yield launch(page, analyser.limits, port=free_port())
    page.close()


@pytest.fixture
def http(address: str) -> Iterator[httpx.Client]:
    with client_of(address) as client:
        yield client


@pytest.fixture
def no_traceback(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Fails a test in which the page prints one."""
    yield
    printed = "".join(capfd.readouterr())
    assert "Traceback" not in printed, printed
