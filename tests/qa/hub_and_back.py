"""To the Hub and back: what is published works for others, with the Space's requirements and no other package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ser_hf import EmotionClassifier
from ser_hf.audio import load_audio
from tests.app.browser import free_port
from tests.local_hub import HubServer, environment
from tests.synthetic import encode

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE = REPOSITORY / "app" / "examples" / "loud-pressed-fast.flac"
MODELS = {"model": REPOSITORY / "models" / "ser-whisper", "baseline": REPOSITORY / "models" / "ser-svm"}
REPOSITORIES = [
    *(("model", "alice/ser-whisper"), ("model", "alice/ser-whisper-baseline"), ("space", "alice/speech-emotion")),
]
PUBLISH = [
    *(sys.executable, "-m", "train.publish"),
    *("--model", "models/ser-whisper", "--repo", "alice/ser-whisper"),
    *("--baseline", "models/ser-svm", "--space", "alice/speech-emotion"),
]
# Without the site module, this Python's own packages are not found.
ISOLATED = [sys.executable, "-S", "-s"]
CLASSIFY = """
import importlib.util, json, sys
import soundfile
from transformers import pipeline

assert not importlib.util.find_spec("ser_hf")
classify = pipeline("audio-classification", model=sys.argv[1])
for clip in sys.argv[2:]:
    samples, rate = soundfile.read(clip, dtype="float32")
    rows = classify({"raw": samples, "sampling_rate": rate}, top_k=None)
    print(json.dumps({row["label"]: row["score"] for row in rows}))
"""


@pytest.fixture(scope="module")
def hub():
    with HubServer() as hub:
        yield hub


@pytest.fixture(scope="module")
def published(hub, tmp_path_factory) -> list[str]:
    """The paths of all files in the three repositories."""
    us = {**os.environ, **environment(hub, hub.token("alice"), tmp_path_factory.mktemp("home"))}
    done = subprocess.run(PUBLISH, cwd=REPOSITORY, env=us, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [name for repository in REPOSITORIES for name in hub.store.files(*repository)]


@pytest.fixture(scope="module")
def space(hub, published, tmp_path_factory) -> Path:
    """The Space's files, as its owner downloads them."""
    folder = tmp_path_factory.mktemp("space")
    for name, content in hub.store.files("space", "alice/speech-emotion").items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def closure(lines: Iterable[str]) -> set[str]:
    """The installed distributions that pip would install for these requirements, by their canonical names."""
    found: set[tuple[str, str]] = set()
    waiting = [Requirement(line) for line in lines]
    while waiting:
        requirement = waiting.pop()
        for extra in ("", *requirement.extras):
            key = (canonicalize_name(requirement.name), extra)
            if key in found:
                continue
            found.add(key)
            for line in metadata.requires(requirement.name) or []:
                other = Requirement(line)
                if other.marker is None or other.marker.evaluate({"extra": extra}):
                    waiting.append(other)
    return {name for name, _ in found}


@pytest.fixture(scope="module")
def others(hub, space, tmp_path_factory) -> dict[str, str]:
    """The environment of others: the Space's requirements, what these require, no token, and nothing else."""
    packages, home = tmp_path_factory.mktemp("packages"), tmp_path_factory.mktemp("others")
    for name in sorted(closure((space / "requirements.txt").read_text().splitlines())):
        distribution = metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files if file.parts[0] not in ("..", "__pycache__")}:
            if not (packages / top).exists():
                (packages / top).symlink_to(distribution.locate_file(top))
    python = {"PYTHONPATH": str(packages), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
    variables = {"PATH": os.defpath, "HOME": str(home), "OMP_NUM_THREADS": "1", "GRADIO_ANALYTICS_ENABLED": "False"}
    return {**variables, **python, **environment(hub, None, home)}


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[Path]:
    """A synthetic voice, as soundfile and as only PyAV reads it, and a clip of the real corpora where they are."""
    webm = tmp_path_factory.mktemp("clips") / "clip.webm"
    webm.write_bytes(encode(load_audio(EXAMPLE), "webm", "libopus"))
    real = Path(os.environ.get("SER_HF_DATA", "nowhere"), "ravdess", "Actor_05", "03-01-05-02-01-01-05.flac")
    return [EXAMPLE, webm, *([real] if real.exists() else [])]


def test_publish_sends_models_without_pickles(published):
    assert {"model.safetensors", "pipeline.skops", "space.py"} <= set(published)
    risky = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".npy", ".joblib")  # what can carry code or training states
    assert not [name for name in published if name.endswith(risky)]


def test_stock_pipeline_predicts_as_the_classifier(others, clips, tmp_path):
    clips = [clip for clip in clips if clip.suffix == ".flac"]
    command = [*ISOLATED, "-c", CLASSIFY, "alice/ser-whisper", *map(str, clips)]
    done = subprocess.run(command, cwd=tmp_path, env=others, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ours = EmotionClassifier.from_pretrained(MODELS["model"])
    for clip, line in zip(clips, done.stdout.splitlines(), strict=True):
        scores = dict(zip(ours.labels, ours.probabilities([load_audio(clip)])[0].tolist(), strict=True))
        assert json.loads(line) == pytest.approx(scores, abs=1e-4)


def test_space_serves_the_published_models(space, others, clips, tmp_path):
    port = free_port()
    variables = {"GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": str(tmp_path), "SYSTEM": "spaces"}
    process = subprocess.Popen(
        [*ISOLATED, "space.py"],
        cwd=space,
        env={**others, **variables, "GRADIO_SERVER_NAME": "127.0.0.1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        log: list[str] = []
        while not any("Listening on" in line for line in log):
            log.append(process.stdout.readline())
            assert log[-1], "".join(log)
        client = Client(f"http://127.0.0.1:{port}", verbose=False, analytics_enabled=False)
        answers = [client.predict(handle_file(str(clip)), api_name="/analyze") for clip in clips]
        (row,) = client.predict([handle_file(str(EXAMPLE))], api_name="/batch")["rows"]
        client.close()
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert row["label"] == answers[0]["model"]["label"]
    for part, folder in MODELS.items():
        classifier = EmotionClassifier.from_pretrained(folder)
        for clip, answer in zip(clips, answers, strict=True):
            assert answer[part]["name"].startswith("alice/")
            assert answer[part]["scores"] == pytest.approx(classifier.predict(clip).scores, abs=1e-4)
