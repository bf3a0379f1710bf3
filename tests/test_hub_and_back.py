"""To the Hub and back: what is published works for others, with the Space's requirements and no other package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import av
import pytest
import soundfile
from gradio_client import Client, handle_file
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ser_hf import EmotionClassifier
from ser_hf.audio import SAMPLE_RATE, load_audio
from tests.app.browser import free_port
from tests.local_hub import HubServer, environment
from train.publishing.space import page_requirements

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parent.parent
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
samples, rate = soundfile.read(sys.argv[2], dtype="float32")
rows = pipeline("audio-classification", model=sys.argv[1])({"raw": samples, "sampling_rate": rate}, top_k=None)
print(json.dumps({row["label"]: row["score"] for row in rows}))
"""
# Carries out, in the Space's folder, what the page does for its visitors, and notes what our modules import meanwhile.
VISIT = """
import builtins, importlib.util, json, shutil, sys
sys.path.insert(0, ".")
assert not any(map(importlib.util.find_spec, ("datasets", "pytest", "train"))), "not alone"
imported, original = set(), builtins.__import__
def noting(name, globals=None, locals=None, fromlist=(), level=0):
    if (globals or {}).get("__name__", "").split(".")[0] in ("app", "ser_hf") and not level:
        imported.add(name.split(".")[0])
    return original(name, globals, locals, fromlist, level)
builtins.__import__ = noting

from app.analysis import Analyser
from app.app import build_parser
from app.batch import run_batch
from app.limits import Limits
from app.live import hear, start
from app.page import build
from app.plots import recording_figure
from ser_hf.classifier import EmotionClassifier

model, baseline, wav, compressed = sys.argv[1:]
analyser = Analyser(*map(EmotionClassifier.from_pretrained, (model, baseline)))
analyser.warm_up()
build(lambda: analyser, Limits())
for file in (wav, compressed):
    answer = analyser.analyse(file)
    explanation = analyser.explain(file, answer)
    recording_figure(explanation.recording.samples, answer, explanation.stretches)
assert run_batch(analyser, [wav, compressed])["answered"] == 2
hear(start(analyser.model), shutil.copy(wav, wav + ".piece"), 60)
print(json.dumps(sorted(imported)))
"""


@pytest.fixture(scope="module")
def hub():
    with HubServer() as hub:
        yield hub


@pytest.fixture(scope="module")
def us(hub, tmp_path_factory) -> dict[str, str]:
    """The environment of whoever publishes."""
    return {**os.environ, **environment(hub, hub.token("alice"), tmp_path_factory.mktemp("home"))}


@pytest.fixture(scope="module")
def after_the_kill(hub, us) -> list[list[str]]:
    """The files of each repository after the first publication was killed as it sent a large file."""
    hub.hold_uploads()
    process = subprocess.Popen(PUBLISH, cwd=REPOSITORY, env=us)
    try:
        assert hub.upload_started.wait(300)
    finally:
        process.kill()
        process.wait()
        hub.mend()
    return [list(hub.store.files(*name)) if hub.store.exists(*name) else [] for name in REPOSITORIES]


@pytest.fixture(scope="module")
def published(hub, us, after_the_kill) -> dict[str, str]:
    """The commit of each repository, after a second publication that nothing disturbed."""
    done = subprocess.run(PUBLISH, cwd=REPOSITORY, env=us, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {name[1]: hub.store.commits(*name)[0]["oid"] for name in REPOSITORIES}


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


@pytest.fixture(params=["synthetic", "RAVDESS"])
def clip(request) -> Path:
    if request.param == "synthetic":
        return EXAMPLE
    real = Path(os.environ.get("SER_HF_DATA", "nowhere"), "ravdess", "Actor_05", "03-01-05-02-01-01-05.flac")
    if not real.exists():
        pytest.skip("needs the real corpora: set SER_HF_DATA=path/to/data")
    return real


def test_publish_killed_leaves_no_half_repository(after_the_kill):
    assert all(set(files) <= {".gitattributes"} for files in after_the_kill)


def test_publish_resumes_with_one_commit_each(hub, published):
    assert [len(hub.store.commits(*name)) for name in REPOSITORIES] == [2] * 3  # the first one made the repository
    names = [name for repository in REPOSITORIES for name in hub.store.files(*repository)]
    assert {"model.safetensors", "pipeline.skops", "space.py"} <= set(names)
    risky = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".npy", ".joblib")  # what can carry code or training states
    assert not [name for name in names if name.endswith(risky)]


def test_stock_pipeline_predicts_as_the_classifier(others, clip, tmp_path):
    command = [*ISOLATED, "-c", CLASSIFY, "alice/ser-whisper", str(clip)]
    done = subprocess.run(command, cwd=tmp_path, env=others, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ours = EmotionClassifier.from_pretrained(MODELS["model"])
    rows = ours.probabilities([load_audio(clip)])
    assert json.loads(done.stdout) == pytest.approx(dict(zip(ours.labels, rows[0].tolist(), strict=True)), abs=1e-4)


def test_predict_takes_a_pinned_model(us, published):
    name = f"alice/ser-whisper@{published['alice/ser-whisper']}"
    command = [sys.executable, "-m", "ser_hf.predict", str(EXAMPLE), "--model", name, "--format", "jsonl"]
    done = subprocess.run(command, cwd=REPOSITORY, env=us, capture_output=True, text=True, check=True)
    ours = EmotionClassifier.from_pretrained(MODELS["model"]).predict(EXAMPLE)
    assert json.loads(done.stdout)["scores"] == pytest.approx(ours.scores, abs=1e-4)


def test_space_serves_the_published_models(space, others, clip, tmp_path):
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
        answer = client.predict(handle_file(str(clip)), api_name="/analyze")
        client.close()
    finally:
        process.terminate()
        process.communicate(timeout=60)
    for part, folder in MODELS.items():
        expected = EmotionClassifier.from_pretrained(folder).predict(clip)
        assert answer[part]["name"].startswith("alice/")
        assert answer[part]["label"] == expected.label
        assert answer[part]["scores"] == pytest.approx(expected.scores, abs=1e-4)


def test_space_says_which_model_it_cannot_fetch(space, others, published, tmp_path):
    variables = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path), "GRADIO_SERVER_PORT": str(free_port())}
    command = [*ISOLATED, "space.py"]
    done = subprocess.run(
        command, cwd=space, env={**others, **variables}, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 2
    assert f"alice/ser-whisper@{published['alice/ser-whisper']}" in done.stderr
    assert "Traceback" not in done.stderr


def test_page_requirements_suffice_and_are_all_needed(space, others, tmp_path):
    clips = [tmp_path / "clip.wav", tmp_path / "clip.webm"]  # what soundfile reads, and what needs PyAV
    samples = load_audio(EXAMPLE)
    soundfile.write(clips[0], samples, SAMPLE_RATE)
    with av.open(str(clips[1]), "w") as container:
        stream = container.add_stream("libopus", rate=48_000, layout="mono")
        resampler = av.AudioResampler("flt", "mono", 48_000)
        frame = av.AudioFrame.from_ndarray(samples[None].astype("float32"), "flt", "mono")
        frame.sample_rate = SAMPLE_RATE
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    command = [*ISOLATED, "-c", VISIT, "alice/ser-whisper", "alice/ser-whisper-baseline", *map(str, clips)]
    done = subprocess.run(command, cwd=space, env=others, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    homes = metadata.packages_distributions()
    imported = {name for top in json.loads(done.stdout.splitlines()[-1]) for name in homes.get(top, [])}
    pinned = {
        line.split("==")[0] for line in (REPOSITORY / "requirements.txt").read_text().splitlines() if "==" in line
    }
    needed = {name for name in pinned if canonicalize_name(name) in map(canonicalize_name, imported)}
    assert needed == page_requirements().keys()
