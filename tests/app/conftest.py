"""A served page with tiny models, and the recordings that the tests send to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

from app.analysis import Analyser
from ser_hf.audio import SAMPLE_RATE
from ser_hf.classifier import EmotionClassifier
from tests.app.http_requests import client_of, served
from tests.synthetic import make_clip


@pytest.fixture(scope="session")
def analyser(tiny_whisper: Path, tiny_svm: Path) -> Analyser:
    return Analyser(*map(EmotionClassifier.from_pretrained, (tiny_whisper, tiny_svm)))


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
    with served(analyser, analyser.limits) as (_, address):
        yield address


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
